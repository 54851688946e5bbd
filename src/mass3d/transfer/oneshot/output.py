"""Probabilities in a box of the prepared scan as label values on the source's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mass3d.transfer.maps import Share, as_shares
from mass3d.volume.box import Box, box_around, whole_box
from mass3d.volume.geometry import Grid
from mass3d.volume.resample import linear_weights

Part = tuple[sparse.csr_array, slice]  # weights (new, old) of an axis, and the new voxels
SLAB_VALUES = 2**25  # numbers of a slab of all structures on the source's grid


def labels_on(
    grid: Grid,
    probabilities: NDArray[np.float32],
    box: Box,
    old: Grid,
    values: Sequence[int],
    *,
    shares: Sequence[Share] = (),
) -> NDArray[np.uint16]:
    """The most probable of background and structures at each voxel of `grid`.

    probabilities (S, d, h, w) in `box` of the prepared grid `old`, 0 beyond; `values`: S label
    values. Interpolation is linear, and memory that of a slab and of the labels. shares: of every
    structure, 0 everywhere and filled with its interpolated probability.
    """
    labels = np.zeros(grid.shape, np.uint16)
    if probabilities.shape[0] == 0 or min(probabilities.shape[1:]) == 0:
        return labels
    sizes = zip(box, old.shape, grid.shape, strict=True)
    d, h, w = (_part(axis, linear_weights(n, m)) for axis, n, m in sizes)
    part = [share[d[1]] for share in shares]
    _write(labels[d[1]], probabilities, d[0], (h, w), values, shares=part)
    return labels


def labels_of_slabs(
    grid: Grid,
    slabs: Iterable[tuple[int, NDArray[np.float32]]],
    old: Grid,
    values: Sequence[int],
    *,
    above: float | None = None,
    nested: bool = False,
    shares: Sequence[Share] = (),
) -> NDArray[np.uint16]:
    """As `labels_on` of the whole prepared grid, whose probabilities come from slice to slice.

    slabs: number of the first slice and (S, slices, H, W), in order. above: what the probability
    of a structure has to exceed, where each was asked for by itself; by default they and the
    background share 1. nested: of several that exceed it, the last one is written, for each lies
    within one before it or apart from it. Memory is that of the labels and of a slab with the few
    slices before it that interpolation still needs.
    """
    labels = np.zeros(grid.shape, np.uint16)
    sizes = zip(whole_box(old.shape), old.shape, grid.shape, strict=True)
    d, h, w = (_part(axis, linear_weights(n, m)) for axis, n, m in sizes)
    first = np.minimum.reduceat(d[0].indices, d[0].indptr[:-1])
    last = np.maximum.reduceat(d[0].indices, d[0].indptr[:-1])
    kept = np.zeros((len(values), 0, *old.shape[1:]), np.float32)
    start = written = 0  # slice of the prepared grid that is kept first; rows of labels done
    for at, slab in slabs:
        kept = np.concatenate([kept, slab], axis=1)
        stop = at + slab.shape[1]
        ready = int(np.searchsorted(last, stop))
        rows = d[0][written:ready, start:stop].tocsr()
        part = [share[written:ready] for share in shares]
        _write(
            labels[written:ready],
            kept,
            rows,
            (h, w),
            values,
            above=above,
            nested=nested,
            shares=part,
        )
        needed = min(int(first[ready]), stop) if ready < len(first) else stop
        kept, start, written = kept[:, needed - start :], needed, ready
    return labels


def _write(
    labels: NDArray[np.uint16],
    probabilities: NDArray[np.float32],
    rows: sparse.csr_array,
    others: tuple[Part, Part],
    values: Sequence[int],
    *,
    above: float | None = None,
    nested: bool = False,
    shares: Sequence[Share] = (),
) -> None:
    """Fill rows of labels and shares (rows, H, W) from probabilities (S, d, h, w), slab by slab.

    Each structure is interpolated in the box where it is likely at all, and the best so far kept.
    """
    h, w = others
    boxes = [box_around(one) for one in probabilities]
    area = (h[1].stop - h[1].start) * (w[1].stop - w[1].start)
    thickness = max(1, SLAB_VALUES // max(1, 3 * area))
    for start in range(0, rows.shape[0], thickness):
        part = rows[start : start + thickness]
        inner = (part.shape[0], h[1].stop - h[1].start, w[1].stop - w[1].start)
        best, total = np.zeros(inner, np.float32), np.zeros(inner, np.float32)
        named = np.zeros(inner, np.uint16)
        for number, (one, box) in enumerate(zip(probabilities, boxes, strict=True)):
            if box is None:
                continue
            parts = [_part(*axis) for axis in zip(box, (part, h[0], w[0]), strict=True)]
            reached = tuple(rows for _, rows in parts)
            fine = one[box]
            for axis, (weights, _) in enumerate(parts):
                fine = _along(fine, weights, axis)
            total[reached] += fine
            if shares:
                rows_of = shares[number][start : start + part.shape[0], h[1], w[1]]
                rows_of[reached] = as_shares(fine)
            higher = fine > (above if nested and above is not None else best[reached])
            best[reached][higher] = fine[higher]
            named[reached][higher] = values[number]
        named[best <= (1 - total if above is None else above)] = 0
        labels[start : start + part.shape[0], h[1], w[1]] = named


def _part(axis: slice, weights: sparse.csr_array) -> Part:
    """Weights (new, old) of one axis from a box to the new voxels that it reaches."""
    part = weights[:, axis.start : axis.stop].tocsr()
    reached = np.flatnonzero(np.diff(part.indptr))
    rows = slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)
    return part[rows.start : rows.stop], rows


def _along(
    values: NDArray[np.float32], weights: sparse.csr_array, axis: int
) -> NDArray[np.float32]:
    """Apply weights (new, old) to one axis."""
    first = np.moveaxis(values, axis, 0)
    flat = np.ascontiguousarray(first).reshape(first.shape[0], -1)
    moved: NDArray[np.float32] = (weights @ flat).reshape(weights.shape[0], *first.shape[1:])
    return np.moveaxis(moved, 0, axis)
