"""The interval code: thousands of nested masks in one integer map and a small table.

A layer is a laminar family: any two of its masks are nested or disjoint, so they form a forest.
Number the atoms of the forest (the regions no mask cuts further) 1..n in depth-first order; then
every mask is one interval of numbers, `mask = (rank >= first) & (rank <= last)`. Masks that cross
go to further layers. A crop or a warp moves one map, however many masks it carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.masks.table import MaskTable, Ranks, measured, no_masks
from mass3d.volume.box import Box


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The masks of one case: rank maps (L, D, H, W), 0 outside every mask, and their table."""

    ranks: Ranks  # (L, D, H, W) uint16, or uint32 where a layer has more atoms
    table: MaskTable

    def __post_init__(self) -> None:
        assert self.ranks.ndim == 4, self.ranks.shape
        assert self.ranks.dtype in (np.uint16, np.uint32), self.ranks.dtype

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (D, H, W)."""
        _, d, h, w = self.ranks.shape
        return d, h, w

    def mask(self, row: int) -> NDArray[np.bool_]:
        """One mask as a (D, H, W) array."""
        whole = np.zeros(self.shape, bool)
        box = self.table.slices(row)
        whole[box] = self.inside(row, box)
        return whole

    def inside(self, row: int, box: Box) -> NDArray[np.bool_]:
        """One mask within a box, without touching the rest of the volume."""
        return self.table.inside(row, self.ranks[(int(self.table.layer[row]), *box)])

    def keep(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> MaskSet:
        """Only the given masks, their ranks renumbered and layers without masks dropped.

        Rows keep the table's order, whatever the order of `rows`; each may be named once.
        """
        chosen = np.unique(np.asarray(rows, dtype=np.int64))
        parts = [
            _renumber(self.ranks[layer], self.table, chosen[self.table.layer[chosen] == layer])
            for layer in np.unique(self.table.layer[chosen])
        ]
        return concatenate(parts) if parts else empty(self.shape)


def empty(shape: tuple[int, int, int]) -> MaskSet:
    """A set without masks or layers over a (D, H, W) volume."""
    return MaskSet(np.zeros((0, *shape), np.uint16), no_masks())


def encode_tree(
    regions: NDArray[np.integer[Any]],
    *,
    parents: NDArray[np.integer[Any]],
    nodes: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    engine: str,
) -> MaskSet:
    """One layer from a tree over regions, without ever making a single mask.

    regions (D, H, W): 0 outside, 1..R inside. parents (M,): nodes 0..R-1 are the regions 1..R,
    every node but the root M-1 has a parent of higher index, the root is its own parent. `nodes`
    are the wanted ones, each with its score; no two may cover the same voxels.
    """
    leaves = int(parents.min())  # the first node that is a parent; leaves come before it
    first, last = _leaf_intervals(parents, leaves)
    ranks = np.concatenate([[0], first[:leaves]]).astype(np.uint32)[regions]
    return _cut(ranks, first=first[nodes], last=last[nodes], scores=scores, engine=engine)


def concatenate(sets: Sequence[MaskSet]) -> MaskSet:
    """The masks of all sets over one grid, layers one after the other; at least one set."""
    shapes = {s.shape for s in sets}
    assert len(shapes) == 1, f"sets on different grids {shapes}"
    dtype = max((s.ranks.dtype for s in sets), key=lambda d: d.itemsize)
    ranks = np.concatenate([s.ranks.astype(dtype, copy=False) for s in sets])
    columns = [s.table.columns() for s in sets]
    layer_offset = np.cumsum([0] + [len(s.ranks) for s in sets])
    row_offset = np.cumsum([0] + [len(s) for s in sets])
    for index, part in enumerate(columns):
        part["layer"] = (part["layer"] + layer_offset[index]).astype(np.int16)
        parent = part["parent"]
        part["parent"] = np.where(parent < 0, -1, parent + row_offset[index]).astype(np.int32)
    return MaskSet(
        ranks, MaskTable(**{k: np.concatenate([part[k] for part in columns]) for k in columns[0]})
    )


def _cut(
    ranks: NDArray[np.integer[Any]],
    *,
    first: NDArray[Any],
    last: NDArray[Any],
    scores: NDArray[Any],
    engine: str | NDArray[np.str_],
) -> MaskSet:
    """One layer from intervals of any rank map (D, H, W); ranks are renumbered without gaps.

    Neighbouring ranks that no interval separates become one, ranks in no interval become 0.
    """
    low, high = first.astype(np.int64), last.astype(np.int64) + 1
    edges = np.unique(np.concatenate([low, high]))
    opened = np.searchsorted(np.sort(low), edges, side="right")
    closed = np.searchsorted(np.sort(high), edges, side="right")
    covered = opened > closed  # the atom that starts at this edge lies in some mask
    number = np.concatenate([[0], np.where(covered, np.cumsum(covered), 0)])
    lookup = number[np.searchsorted(edges, np.arange(int(ranks.max(initial=0)) + 1), side="right")]
    atoms = int(covered.sum())
    dtype = np.uint16 if atoms <= np.iinfo(np.uint16).max else np.uint32
    renumbered = lookup.astype(dtype)[ranks]
    starts = np.cumsum(covered)  # atom that starts at an edge, or the last one before it
    table = measured(
        renumbered,
        first=starts[np.searchsorted(edges, low)],
        last=starts[np.searchsorted(edges, high) - 1],
        scores=scores,
        engine=engine,
    )
    return MaskSet(renumbered[np.newaxis], table)


def _renumber(ranks: Ranks, table: MaskTable, rows: NDArray[np.int64]) -> MaskSet:
    """The given masks of one layer (D, H, W) as a layer of their own."""
    return _cut(
        ranks,
        first=table.first[rows],
        last=table.last[rows],
        scores=table.score[rows],
        engine=table.engine[rows],
    )


def _leaf_intervals(
    parents: NDArray[np.integer[Any]], leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Depth-first numbers 1..R of the leaves below every node: first and last, inclusive.

    Nodes are ordered so that every parent has a higher index than its children; so sizes are
    summed upwards in one pass and places are handed out downwards in another.
    """
    nodes = len(parents)
    size = np.zeros(nodes, np.int64)
    size[:leaves] = 1
    for node in range(nodes - 1):
        size[parents[node]] += size[node]
    first = np.ones(nodes, np.int64)
    following = np.ones(nodes, np.int64)  # where the next child of a node begins
    for node in range(nodes - 2, -1, -1):
        parent = parents[node]
        first[node] = following[node] = following[parent]
        following[parent] += size[node]
    return first, first + size - 1
