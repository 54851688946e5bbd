"""Slow plain resampling: every new voxel looks up its old ones by their place in the world."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.geometry import Grid
from mass3d.volume.resample import TIE_VOX


def image(voxels: NDArray[np.float64], old: Grid, new: Grid) -> NDArray[np.float64]:
    """Triangle-weighted mean of the old voxels about every new centre; edges go on outside."""
    out = np.empty(new.shape)
    to_old = np.linalg.inv(old.affine) @ new.affine
    reach = [max(1.0, n / o) for o, n in zip(old.spacing_mm, new.spacing_mm, strict=True)]
    for index in np.ndindex(*new.shape):
        centre = (to_old @ np.array([*index, 1.0]))[:3]
        axes = [_weights(c, r, n) for c, r, n in zip(centre, reach, old.shape, strict=True)]
        out[index] = sum(
            wd * wh * ww * voxels[d, h, w]
            for d, wd in axes[0].items()
            for h, wh in axes[1].items()
            for w, ww in axes[2].items()
        )
    return out


def nearest(old: int, new: int) -> list[int]:
    """Old voxel, of `old` in a row, that holds the centre of each of `new`; exact."""
    return [min(floor((k + Fraction(1, 2)) * Fraction(old, new)), old - 1) for k in range(new)]


def label(voxels: NDArray[np.integer[Any]], old: Grid, new: Grid) -> NDArray[np.integer[Any]]:
    """The old voxel whose centre is nearest to each new centre in the world, 0 outside."""
    out = np.zeros(new.shape, voxels.dtype)
    for index in np.ndindex(*new.shape):
        world = new.affine @ np.array([*index, 1.0])
        place = np.linalg.solve(old.affine, world)[:3]
        nearest = tuple(floor(x + 0.5 + TIE_VOX) for x in place)  # the upper of two
        if all(0 <= i < n for i, n in zip(nearest, old.shape, strict=True)):
            out[index] = voxels[nearest]
    return out


def _weights(centre: float, reach: float, size: int) -> dict[int, float]:
    weights: dict[int, float] = {}
    for tap in range(floor(centre - reach), ceil(centre + reach) + 1):
        inside = min(max(tap, 0), size - 1)
        weight = max(0.0, 1 - abs(tap - centre) / reach)
        weights[inside] = weights.get(inside, 0.0) + weight
    total = sum(weights.values())
    return {tap: weight / total for tap, weight in weights.items()}
