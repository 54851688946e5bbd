"""The table of the masks of a case: one row per mask, which is an interval of ranks of its layer.

All arithmetic with intervals is here: what lies in a mask, how large it is, and sums over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.volume.box import Box

Ranks = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False)
class MaskTable:
    """One row per mask, as columns of equal length N; rows are sorted by layer, parents first."""

    layer: NDArray[np.int16]  # (N,) which rank map
    first: NDArray[np.uint32]  # (N,) lowest rank of the mask, at least 1
    last: NDArray[np.uint32]  # (N,) highest rank of the mask, inclusive
    parent: NDArray[np.int32]  # (N,) row of the smallest mask of the layer around it, -1 for a root
    voxels: NDArray[np.int64]  # (N,) size
    box: NDArray[np.int32]  # (N, 6) half-open (d0, d1, h0, h1, w0, w1)
    score: NDArray[np.float32]  # (N,) how much the engine trusts it; comparable within an engine
    engine: NDArray[np.str_]  # (N,) name of the engine that proposed it

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, f.name)) for f in fields(self)}
        assert len(lengths) == 1, f"columns of different lengths {lengths}"
        assert self.box.shape == (len(self), 6), self.box.shape

    def __len__(self) -> int:
        return len(self.layer)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, ready for `np.savez`; `MaskTable(**columns)` is the inverse."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def slices(self, row: int) -> Box:
        """The box of one mask as three slices."""
        d0, d1, h0, h1, w0, w1 = (int(edge) for edge in self.box[row])
        return slice(d0, d1), slice(h0, h1), slice(w0, w1)

    def rows_in(self, layer: int) -> NDArray[np.int64]:
        """Rows of the masks of one layer, parents before their children."""
        return np.flatnonzero(self.layer == layer)

    def value_names(self, layer: int) -> dict[str, int]:
        """What the ranks of a layer are called, by rank: after the smallest mask that holds them.

        `mask 3`, and `mask 3, part 2` for a further rank of the same mask.
        """
        owners: dict[int, int] = {}
        for row in self.rows_in(layer).tolist():  # parents before their children
            owners |= dict.fromkeys(range(int(self.first[row]), int(self.last[row]) + 1), row)
        parts, names = Counter[int](), dict[str, int]()
        for rank, row in sorted(owners.items()):
            parts[row] += 1
            names[f"mask {row}" + (f", part {parts[row]}" if parts[row] > 1 else "")] = rank
        return names

    def inside(self, row: int, ranks: Ranks) -> NDArray[np.bool_]:
        """Where one mask is in any part of the rank map of its layer."""
        # numbers of the array's own kind: a comparison with wider ones is a slow one
        first, last = (ranks.dtype.type(column[row]) for column in (self.first, self.last))
        within: NDArray[np.bool_] = (ranks >= first) & (ranks <= last)
        return within

    def sums(self, rows: NDArray[np.integer[Any]], of_ranks: NDArray[Any]) -> NDArray[Any]:
        """(K, ...) for each of K masks of one layer the sum over its ranks.

        of_ranks (R + 1, ...): figures of every rank of the layer, from 0 on, at least up to the
        last rank of these masks. No mask is ever made.
        """
        up_to = np.cumsum(of_ranks, axis=0)
        return np.asarray(up_to[self.last[rows]] - up_to[self.first[rows].astype(np.int64) - 1])

    def count(self, ranks: Iterable[Ranks]) -> NDArray[np.int64]:
        """(N,) voxels of every mask in rank maps, one for each layer, on any grid."""
        voxels = np.zeros(len(self), np.int64)
        for layer, rank_map in enumerate(ranks):
            rows = self.rows_in(layer)
            length = int(self.last[rows].max(initial=0)) + 1
            voxels[rows] = self.sums(rows, np.bincount(rank_map.ravel(), minlength=length))
        return voxels

    def crossing_layers(self) -> tuple[int, ...]:
        """Layers with masks that are neither nested nor disjoint; a sound table has none."""
        return tuple(
            int(layer) for layer in np.unique(self.layer) if self._crosses(self.rows_in(layer))
        )

    def _crosses(self, rows: NDArray[np.int64]) -> bool:
        """Whether any two of some intervals cross."""
        order = rows[np.lexsort((-self.last[rows].astype(np.int64), self.first[rows]))]
        around: list[int] = []  # last ranks of the intervals that are still open
        for first, last in zip(self.first[order].tolist(), self.last[order].tolist(), strict=True):
            while around and around[-1] < first:
                around.pop()
            if around and around[-1] < last:
                return True
            around.append(last)
        return False

    def depths(self) -> NDArray[np.int64]:
        """(N,) number of masks of the same layer around each mask; 0 for a root."""
        depth = np.zeros(len(self), np.int64)
        for row in np.flatnonzero(self.parent >= 0):  # parents stand before their children
            depth[row] = depth[self.parent[row]] + 1
        return depth


def no_masks() -> MaskTable:
    """A table without rows."""
    nothing = np.zeros(0)
    return MaskTable(
        layer=nothing.astype(np.int16),
        first=nothing.astype(np.uint32),
        last=nothing.astype(np.uint32),
        parent=nothing.astype(np.int32),
        voxels=nothing.astype(np.int64),
        box=np.zeros((0, 6), np.int32),
        score=nothing.astype(np.float32),
        engine=nothing.astype("U1"),
    )


def measured(
    ranks: Ranks,
    *,
    first: NDArray[Any],
    last: NDArray[Any],
    scores: NDArray[Any],
    engine: str | NDArray[np.str_],
) -> MaskTable:
    """The table of one layer (D, H, W) from its intervals; sizes, boxes, parents are measured.

    Rows are sorted so that parents stand before children. Intervals that cover the same atoms are
    the same mask: the first of them stays.
    """
    order = np.lexsort((-np.asarray(scores, np.float64), -last.astype(np.int64), first))
    first, last = first[order].astype(np.int64), last[order].astype(np.int64)
    new = np.ones(len(order), bool)
    new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    order, first, last = order[new], first[new], last[new]
    atoms = int(last.max(initial=0))
    engines = [engine] * len(order) if isinstance(engine, str) else engine[order].tolist()
    table = MaskTable(
        layer=np.zeros(len(order), np.int16),
        first=first.astype(np.uint32),
        last=last.astype(np.uint32),
        parent=_parents(first, last),
        voxels=np.zeros(len(order), np.int64),
        box=_boxes(ranks, first, last, atoms),
        score=np.asarray(scores)[order].astype(np.float32),
        engine=np.array(engines, np.str_),  # as wide as its longest name, whatever it came from
    )
    return replace(table, voxels=table.count([ranks]))


def _parents(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int32]:
    """Row of the smallest interval around each, -1 for roots; rows sorted parents first."""
    parents = np.full(len(first), -1, np.int32)
    around: list[int] = []
    for row in range(len(first)):
        while around and last[around[-1]] < last[row]:
            around.pop()
        if around:
            parents[row] = around[-1]
        around.append(row)
    return parents


def _boxes(
    ranks: Ranks, first: NDArray[np.int64], last: NDArray[np.int64], atoms: int
) -> NDArray[np.int32]:
    """(N, 6) boxes of intervals: hulls of the boxes of their atoms."""
    large = np.iinfo(np.int32).max
    low, high = np.full((atoms + 1, 3), large, np.int64), np.zeros((atoms + 1, 3), np.int64)
    for rank, found in enumerate(ndimage.find_objects(ranks.astype(np.int32), atoms), start=1):
        if found is not None:
            low[rank] = [axis.start for axis in found]
            high[rank] = [axis.stop for axis in found]
    boxes = np.zeros((len(first), 6), np.int32)
    for row, (a, b) in enumerate(zip(first, last + 1, strict=True)):
        boxes[row, 0::2] = low[a:b].min(axis=0)
        boxes[row, 1::2] = high[a:b].max(axis=0)
    return boxes
