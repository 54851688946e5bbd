"""Small regions of a scan and the graph of their neighbours: what merging starts from.

A region is a basin of the gradient's magnitude: every voxel runs down to its lowest neighbour until
it reaches a minimum, and voxels that reach the same minimum are one region. These are watersheds
by steepest descent; flooding from the minima with a queue finds masks as good, at eight times the
time and four times the memory (experiments/masks.md). All work is done on blocks of planes, and no
block sees more than the planes beside it, so that blocks leave no seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

BLOCK_VOX: Final = 2**19  # voxels that are worked on at a time
FACE_BLOCKS: Final = 16  # into which the faces between regions are divided, at most


@dataclass(frozen=True)
class Graph:
    """Regions 1..R of a scan as a graph of neighbours; a pair of them is one of E edges."""

    regions: NDArray[np.int32]  # (D, H, W), 1..R
    first: Integers  # (E,) the one region of a pair, from 0
    second: Integers  # (E,) the other, of higher number
    edge: Floats  # (E,) mean gradient along their border
    border: Floats  # (E,) voxel faces they share
    size: Floats  # (R,) voxels
    mean: Floats  # (R,) mean windowed intensity


def build_graph(image: Floats, sigma_vox: float) -> Graph | None:
    """Basins of the smoothed gradient and their neighbours; None for one region.

    image (D, H, W) float32 in [0, 1].
    """
    gradient: Floats = ndimage.gaussian_gradient_magnitude(image, sigma_vox, mode="nearest")
    regions = basins(gradient)
    count = int(regions.max())
    if count < 2:
        return None
    first, second, edge, border = _neighbours(regions, gradient, count)
    size = region_sums(regions, np.broadcast_to(np.float32(1), regions.shape), count)
    mean = region_sums(regions, image, count) / size
    return Graph(regions, first, second, edge, border, size, mean.astype(np.float32))


def region_sums(
    regions: NDArray[np.int32], values: NDArray[Any], count: int
) -> NDArray[np.float64]:
    """Sum of values (D, H, W) over each of the regions 1..count, (count,)."""
    total = np.zeros(count)
    for start, stop in _planes(regions.shape):
        where = regions[start:stop].ravel() - 1
        np.add.at(total, where, values[start:stop].ravel().astype(np.float64))
    return total


def relabel(regions: NDArray[np.int32], number: Integers) -> NDArray[np.int32]:
    """Regions (D, H, W) with region r of 1..R called number[r - 1], (R,)."""
    renamed = np.empty_like(regions)
    for start, stop in _planes(regions.shape):
        renamed[start:stop] = number[regions[start:stop] - 1]
    return renamed


def basins(relief: Floats) -> NDArray[np.int32]:
    """Number 1..R of the basin of every voxel of a relief (D, H, W).

    A voxel belongs to the basin of its lowest neighbour across a face; of equally low ones the
    first counts (before and behind along D, then H, then W). Voxels with no lower neighbour are
    the bottoms; those that touch share a basin.
    """
    towards = _descent(relief).ravel()
    bottoms = towards == np.arange(len(towards), dtype=np.int32)
    number = np.empty(relief.shape, np.int32)
    ndimage.label(bottoms.reshape(relief.shape), output=number)
    blocks = [slice(at, at + BLOCK_VOX) for at in range(0, len(towards), BLOCK_VOX)]
    moving = blocks
    while moving:  # a pass halves the way to the bottom, at least
        moving = [block for block in moving if _moves(towards, block)]
    for block in blocks:
        towards[block] = number.ravel()[towards[block]]
    return towards.reshape(relief.shape)


def _moves(towards: NDArray[np.int32], block: slice) -> bool:
    """Let a block of voxels point to where their goals point; False if all were at the bottom."""
    goals = towards[block]
    further = towards[goals]
    moved = not np.array_equal(further, goals)
    goals[:] = further
    return moved


def _descent(relief: Floats) -> NDArray[np.int32]:
    """Flat index of the lowest of each voxel and its six neighbours, its own if none is lower."""
    towards = np.empty(relief.shape, np.int32)
    steps = [stride // relief.itemsize for stride in relief.strides]
    for start, stop in _planes(relief.shape):
        low, high = max(0, start - 1), min(len(relief), stop + 1)
        near = relief[low:high]
        lowest = near.copy()
        index = np.arange(low * steps[0], high * steps[0], dtype=np.int32).reshape(near.shape)
        own = index.copy()
        for axis, step in enumerate(steps):
            before, behind = _pairs(axis)
            for here, there, way in ((behind, before, -step), (before, behind, step)):
                lower = near[there] < lowest[here]
                np.copyto(lowest[here], near[there], where=lower)
                np.copyto(index[here], own[here] + np.int32(way), where=lower)
        towards[start:stop] = index[start - low : stop - low]
    return towards


@dataclass(frozen=True)
class Pairs:
    """The distinct pairs among many, to sum over each what belongs to it."""

    first: NDArray[np.int32]  # (E,) the lower number of each, in order
    second: NDArray[np.int32]  # (E,) the higher one
    order: NDArray[np.int32]  # (F,) that puts the same pairs side by side
    start: NDArray[np.int64]  # (E,) where each begins in that order

    @classmethod
    def of(cls, a: Integers, b: Integers, *, count: int) -> Pairs:
        """a, b (F,): numbers below `count`; whichever comes first makes no difference."""
        ends = (np.minimum(a, b), np.maximum(a, b))
        places = sparse.coo_array((np.arange(len(a), dtype=np.int32), ends), shape=(count, count))
        places.has_canonical_format = True  # so that repeated pairs are kept, not added up
        table = places.tocsr()
        table.sort_indices()
        first = np.repeat(np.arange(count, dtype=np.int32), np.diff(table.indptr))
        new = np.ones(len(first), bool)
        new[1:] = (first[1:] != first[:-1]) | (table.indices[1:] != table.indices[:-1])
        start = np.flatnonzero(new)
        return cls(first[start], table.indices[start], table.data, start)

    def sum(self, values: Floats) -> NDArray[np.float32]:
        """(E,) Sum of values (F,) over each pair."""
        total = np.add.reduceat(values[self.order], self.start, dtype=np.float64)
        return total.astype(np.float32)

    def lowest(self, values: Integers) -> Integers:
        """(E,) Lowest of values (F,) over each pair."""
        found: Integers = np.minimum.reduceat(values[self.order], self.start)
        return found


def _neighbours(
    regions: NDArray[np.int32], gradient: Floats, count: int
) -> tuple[Integers, Integers, Floats, Floats]:
    """Pairs of touching regions (from 0), the mean gradient on their border and its faces."""
    found: list[tuple[NDArray[Any], ...]] = []
    # few blocks, because each counts through all regions
    for start, stop in _planes(regions.shape, blocks=FACE_BLOCKS):
        a, b, steep = _faces(regions, gradient, start, stop)
        if len(a):
            pairs = Pairs.of(a, b, count=count)
            once = np.ones(len(a), np.float32)
            found.append((pairs.first, pairs.second, pairs.sum(steep), pairs.sum(once)))
    first, second, steep, once = (np.concatenate(part) for part in zip(*found, strict=True))
    pairs = Pairs.of(first, second, count=count)
    faces = pairs.sum(once)
    return pairs.first, pairs.second, pairs.sum(steep) / faces, faces


def _faces(
    regions: NDArray[np.int32], gradient: Floats, start: int, stop: int
) -> tuple[Integers, Integers, Floats]:
    """Faces between two regions whose first voxel lies in the planes from `start` to `stop`.

    Returns both regions (F,), from 0, and the larger gradient of the two voxels (F,).
    """
    found = []
    for axis in range(3):
        planes = slice(start, stop + 1 if axis == 0 else stop)
        region, steep = regions[planes], gradient[planes]
        before, behind = _pairs(axis)
        apart = region[before] != region[behind]
        found.append(
            (
                region[before][apart] - 1,
                region[behind][apart] - 1,
                np.maximum(steep[before], steep[behind])[apart],
            )
        )
    a, b, steepest = (np.concatenate(part) for part in zip(*found, strict=True))
    return a, b, steepest


def _pairs(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Voxels with one behind them along an axis of three, and those behind, as two indices."""
    before, behind = [slice(None)] * 3, [slice(None)] * 3
    before[axis], behind[axis] = slice(None, -1), slice(1, None)
    return tuple(before), tuple(behind)


def _planes(shape: tuple[int, ...], *, blocks: int | None = None) -> Iterator[tuple[int, int]]:
    """Half-open ranges of planes along D, together all, of about `BLOCK_VOX` voxels each.

    Where `blocks` is given, of more voxels each and at most so many.
    """
    depth = max(1, BLOCK_VOX // (shape[1] * shape[2]))
    if blocks is not None:
        depth = max(depth, -(-shape[0] // blocks))
    for start in range(0, shape[0], depth):
        yield start, min(shape[0], start + depth)
