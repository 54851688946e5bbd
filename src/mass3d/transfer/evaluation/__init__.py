"""Predictions beside their labels: counted, scored, compared with others, and told."""
