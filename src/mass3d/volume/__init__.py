"""Voxels and where they are: geometry, resampling, intensity, body, preparation."""
