"""Probabilities in a box of the prepared scan as label values on the source's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mass3d.volume.box import Box
from mass3d.volume.geometry import Grid
from mass3d.volume.resample import linear_weights

SLAB_VALUES = 2**25  # numbers of a slab of all structures on the source's grid


def labels_on(
    grid: Grid, probabilities: NDArray[np.float32], box: Box, old: Grid, values: Sequence[int]
) -> NDArray[np.uint16]:
    """The most probable of background and structures at each voxel of `grid`.

    probabilities (S, d, h, w) in `box` of the prepared grid `old`, 0 beyond; `values`: S label
    values. Interpolation is linear, and memory that of a slab and of the labels.
    """
    labels = np.zeros(grid.shape, np.uint16)
    if probabilities.shape[0] == 0 or min(probabilities.shape[1:]) == 0:
        return labels
    sizes = zip(box, old.shape, grid.shape, strict=True)
    d, h, w = (_part(axis, linear_weights(n, m)) for axis, n, m in sizes)
    table = np.array([0, *values], np.uint16)
    area = (h[1].stop - h[1].start) * (w[1].stop - w[1].start)
    thickness = max(1, SLAB_VALUES // max(1, area * (len(values) + 1)))
    for start in range(0, d[0].shape[0], thickness):
        rows = d[0][start : start + thickness]
        slab = _along(_along(_along(probabilities, rows, 1), h[0], 2), w[0], 3)
        best = slab.argmax(0)
        highest = np.take_along_axis(slab, best[None], 0)[0]
        inside = highest > 1 - slab.sum(0)
        first = d[1].start + start
        target = (slice(first, first + rows.shape[0]), h[1], w[1])
        labels[target] = np.where(inside, table[best + 1], 0)
    return labels


def _part(axis: slice, weights: sparse.csr_array) -> tuple[sparse.csr_array, slice]:
    """Weights (new, old) of one axis from a box to the new voxels that it reaches."""
    part = weights[:, axis.start : axis.stop].tocsr()
    reached = np.flatnonzero(np.diff(part.indptr))
    rows = slice(int(reached[0]), int(reached[-1]) + 1)
    return part[rows.start : rows.stop], rows


def _along(
    values: NDArray[np.float32], weights: sparse.csr_array, axis: int
) -> NDArray[np.float32]:
    """Apply weights (new, old) to one axis."""
    first = np.moveaxis(values, axis, 0)
    flat = np.ascontiguousarray(first).reshape(first.shape[0], -1)
    moved: NDArray[np.float32] = (weights @ flat).reshape(weights.shape[0], *first.shape[1:])
    return np.moveaxis(moved, 0, axis)
