"""Results of `segment` as a raw dataset of nnU-Net: scans, pseudo-labels, and true labels."""
