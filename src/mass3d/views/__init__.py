"""What the network sees: two overlapping, augmented crops of a scan and the masks both show."""
