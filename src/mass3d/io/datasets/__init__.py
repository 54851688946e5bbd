"""How datasets are laid out: cases, labels, names and tables."""
