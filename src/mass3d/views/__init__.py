"""What the network sees: augmented crops of one scan or of two, and the masks that both show."""
