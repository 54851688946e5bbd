"""The `sam2` engine: SAM2 finds masks on single slices and follows each through the volume."""

from mass3d.masks.sam2.engine import propose
from mass3d.masks.sam2.settings import Sam2Config, Sam2Profile
from mass3d.masks.sam2.weights import weights_id

__all__ = ["Sam2Config", "Sam2Profile", "propose", "weights_id"]
