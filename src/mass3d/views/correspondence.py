"""Where a place of the query lies in the reference: known, because both warps are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mass3d.views.draw import Vector, Warp
from mass3d.views.warp import Crop

Points = NDArray[np.float64]  # (N, 3) voxels of a view or of a scan, (D, H, W)
ROUNDS = 30  # of the inversion of a bent warp; smooth bends are exact to a millionth long before
EXACT_VOX = 1e-6


class Matches(NamedTuple):
    """The true place in the reference of each cell of the query; cells in the order (D, H, W)."""

    place: Tensor  # (B, N, 3) float32: reference coordinates in cells, of cell centres
    inside: Tensor  # (B, N) bool: the place lies in the reference view


def to_scan(warp: Warp, points: Points, crop: Crop) -> Points:
    """Points of a view, in its voxels -> where the warp reads them in the scan."""
    centre = (np.array(crop) - 1) / 2
    return warp.centre + (points - centre) @ warp.matrix.T + bend_at(warp, points, crop)


def to_view(warp: Warp, points: Points, crop: Crop) -> Points:
    """Points of a scan -> where a view shows them; the inverse of `to_scan`.

    A bent warp is inverted by repetition, which converges where it does not fold; points far
    outside of the view, where the bend goes on as it is at the border, are exact as well.
    """
    centre, inverse = (np.array(crop) - 1) / 2, np.linalg.inv(warp.matrix).T
    found = centre + (points - warp.centre) @ inverse
    if warp.bend is None:
        return found
    for _ in range(ROUNDS):
        before = found
        found = centre + (points - warp.centre - bend_at(warp, before, crop)) @ inverse
        if np.abs(found - before).max() < EXACT_VOX:
            break
    return found


def bend_at(warp: Warp, points: Points, crop: Crop) -> Points | Vector:
    """Displacement in voxels of the scan at points of a view; beyond its border as at the border.

    Linear between the coarse nodes, the first and last of which lie on the outermost voxels.
    """
    if warp.bend is None:
        return np.zeros(3)
    nodes = np.array(warp.bend.shape[1:]) - 1
    at = (points / np.maximum(np.array(crop) - 1, 1) * nodes).T
    moved = [ndimage.map_coordinates(b, at, order=1, mode="nearest") for b in warp.bend]
    return np.stack(moved, axis=-1).astype(np.float64)
