"""The `sam2` engine: SAM2 finds masks on single slices and follows each through the volume."""
