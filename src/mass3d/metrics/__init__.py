"""How good a segmentation is: overlap with the truth, and statistics over cases."""
