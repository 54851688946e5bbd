"""Dense features as NIfTI: cells with their channels, in place over the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.io.write import write_file_order
from mass3d.volume.geometry import Grid


def write_dense(path: Path, cells: NDArray[np.float32], grid: Grid, *, stride: int) -> None:
    """cells (C, d, h, w), `stride` voxels wide, of an image on `grid` -> NIfTI (x, y, z, C)."""
    affine = grid.affine
    affine[:3, 3] += affine[:3, :3] @ np.full(3, (stride - 1) / 2)
    affine[:3, :3] *= stride
    affine[:3, :3] = affine[:3, 2::-1]  # (d, h, w) is world (z, y, x)
    write_file_order(path, cells.transpose(3, 2, 1, 0), affine)
