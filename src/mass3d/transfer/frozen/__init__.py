"""Frozen features: what a pretrained network says of whole scans, and what can be read off it."""
