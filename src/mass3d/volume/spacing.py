"""Which voxel edge suits a cohort, and which of its scans it does not suit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.geometry import Grid

MIN_SPACING_MM: Final = (
    1.0  # automatic spacing is never finer: masks and networks see enough at this
)
MIN_VOX: Final = 16  # along an axis; with fewer, little is left of a scan to propose masks in


def automatic_spacing_mm(grids: Iterable[Grid]) -> float:
    """Geometric mean of the median voxel edges, rounded to 0.1 mm, at least 1 mm.

    Every scan counts by its voxels: along each axis half of all voxels are at least as fine as the
    median, so that hundreds of small crops do not decide for some large scans.
    """
    found = list(grids)
    if not found:
        return MIN_SPACING_MM
    voxels = np.array([np.prod(np.array(grid.shape, float)) for grid in found])
    edges = np.array([grid.spacing_mm for grid in found])
    medians = [weighted_median(along, voxels) for along in edges.T]
    return max(MIN_SPACING_MM, round(float(np.exp(np.log(medians).mean())), 1))


def voxels_at(
    spacing_mm: float, shape: Sequence[int], edges_mm: Sequence[float]
) -> tuple[int, ...]:
    """How many voxels a scan of such a shape and such edges has once it is resampled."""
    lengths = np.multiply(shape, edges_mm) / spacing_mm
    return tuple(int(length) for length in np.maximum(1, np.round(lengths)))


def is_too_small(shape: Sequence[int]) -> bool:
    """Whether a prepared scan has fewer than 16 voxels along an axis."""
    return min(shape) < MIN_VOX


def weighted_median(values: NDArray[Any], weights: NDArray[Any]) -> float:
    """The lowest value up to which half of the weight lies; the mean with the next at a tie."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    low, high = np.searchsorted(reached, (0.5 - 1e-9, 0.5 + 1e-9))
    return float(values[order[[low, high]]].mean())
