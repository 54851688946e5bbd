"""How good a finetuned network is with how many labels, from which start."""
