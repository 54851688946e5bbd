"""What a step of pretraining shows and asks, for each kind of network."""
