"""The same scan, or label map, in fewer voxels: for screens, not for results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.geometry import Grid
from mass3d.volume.volume import Volume

Steps = tuple[int, int, int]  # edges of a block along (D, H, W), in voxels


def block_means(volume: Volume, steps: Steps) -> Volume:
    """One voxel for every whole block of a scan, its mean, float32; in RAS+ file order."""
    d, h, w = steps
    nd, nh, nw = (n // step for n, step in zip(volume.grid.shape, steps, strict=True))
    found = np.empty((nd, nh, nw), np.float32)
    for at in range(nd):
        block = volume.voxels[at * d : (at + 1) * d, : nh * h, : nw * w]
        slab = np.add.reduce(block, axis=0, dtype=np.float32)
        found[at] = slab.reshape(nh, h, nw, w).sum((1, 3)) / (d * h * w)
    return Volume.from_file_order(
        found.transpose(2, 1, 0), _coarse_affine(volume.grid, steps), path=volume.path
    )


def block_centres(labels: NDArray[Any], steps: Steps) -> NDArray[Any]:
    """The label in the middle of every whole block of (D, H, W), as a view."""
    d, h, w = steps
    nd, nh, nw = (n // step for n, step in zip(labels.shape, steps, strict=True))
    centres: NDArray[Any] = labels[d // 2 :: d, h // 2 :: h, w // 2 :: w]
    return centres[:nd, :nh, :nw]


def _coarse_affine(grid: Grid, steps: Steps) -> NDArray[np.float64]:
    """(w, h, d) of blocks -> RAS+ mm: the centre of the first block, and edges of blocks."""
    fine = grid.affine
    affine = np.eye(4)
    scaled = fine[:3, :3] * steps
    affine[:3, :3] = scaled[:, ::-1]
    affine[:3, 3] = fine[:3, 3] + fine[:3, :3] @ ((np.array(steps) - 1) / 2)
    return affine
