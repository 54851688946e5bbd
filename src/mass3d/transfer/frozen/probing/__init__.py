"""What labels of whole scans can be read off frozen features, by cross-validation."""
