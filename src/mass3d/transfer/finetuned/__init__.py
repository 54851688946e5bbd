"""A pretrained network trained on with labels: its scans, its training, and what it segments."""
