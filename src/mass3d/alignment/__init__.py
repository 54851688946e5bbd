"""Where each voxel of a scan lies in another one: affine, then deformable, without a network."""
