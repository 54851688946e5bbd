"""Where each voxel of a scan lies in a labelled one: affine, then deformable, without a network."""
