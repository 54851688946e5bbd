"""The interval code: thousands of nested masks in one integer map and a small table.

A layer is a laminar family: any two of its masks are nested or disjoint, so they form a forest.
Number the atoms of the forest (the regions no mask cuts further) 1..n in depth-first order; then
every mask is one interval of numbers, `mask = (rank >= first) & (rank <= last)`. Masks that cross
go to further layers. A crop or a warp moves one map, however many masks it carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, slice, slice]
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
        """The box of one mask as three half-open slices."""
        d0, d1, h0, h1, w0, w1 = (int(edge) for edge in self.box[row])
        return slice(d0, d1), slice(h0, h1), slice(w0, w1)

    def depths(self) -> NDArray[np.int64]:
        """(N,) number of masks of the same layer around each mask; 0 for a root."""
        depth = np.zeros(len(self), np.int64)
        for row in np.flatnonzero(self.parent >= 0):  # parents stand before their children
            depth[row] = depth[self.parent[row]] + 1
        return depth


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
        rank = self.ranks[(int(self.table.layer[row]), *box)]
        return (rank >= self.table.first[row]) & (rank <= self.table.last[row])

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
    return MaskSet(np.zeros((0, *shape), np.uint16), _table([], [], [], [], []))


def encode(
    masks: Iterable[NDArray[np.bool_]],
    *,
    scores: Sequence[float] | None = None,
    engine: str = "external",
    shape: tuple[int, int, int] | None = None,
) -> MaskSet:
    """Pack any masks (D, H, W) into layers, largest first, each into the first layer it fits.

    The round trip is exact. A mask given twice is kept once, with its higher score. `shape` is
    needed only when there may be no mask at all. An empty mask is a fault of the caller.
    """
    crops: list[_Crop] = []
    for index, mask in enumerate(masks):
        shape = shape or cast("tuple[int, int, int]", mask.shape)
        assert mask.shape == shape, f"mask {index} has shape {mask.shape}, the others {shape}"
        crops.append(_Crop.of(mask, 1.0 if scores is None else float(scores[index])))
    assert shape is not None, "no masks and no shape"
    packings: list[_Packing] = []
    for crop in sorted(crops, key=lambda c: (-c.voxels, -c.score)):  # stable: equal ones in order
        if not any(packing.take(crop) for packing in packings):
            packings.append(_Packing(shape))
            packings[-1].take(crop)
    if not packings:
        return empty(shape)
    return concatenate([packing.finish(engine) for packing in packings])


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
    leaves = int(regions.max(initial=0))
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
    engine: str,
) -> MaskSet:
    """One layer from intervals of any rank map (D, H, W); ranks are renumbered without gaps.

    Neighbouring ranks that no interval separates become one, ranks in no interval become 0.
    """
    order = np.lexsort((-last.astype(np.int64), first))
    low, high = first[order].astype(np.int64), last[order].astype(np.int64) + 1
    edges = np.unique(np.concatenate([low, high]))
    opened = np.searchsorted(low, edges, side="right")
    closed = np.searchsorted(np.sort(high), edges, side="right")
    covered = opened > closed  # the atom that starts at this edge lies in some mask
    number = np.concatenate([[0], np.where(covered, np.cumsum(covered), 0)])
    atoms = int(number.max())
    dtype = np.uint16 if atoms <= np.iinfo(np.uint16).max else np.uint32
    lookup = number[np.searchsorted(edges, np.arange(int(ranks.max(initial=0)) + 1), side="right")]
    renumbered = lookup.astype(dtype)[ranks]
    table = _table(
        renumbered,
        atoms=atoms,
        first=number[np.searchsorted(edges, low) + 1],
        last=number[np.searchsorted(edges, high)],
        scores=scores[order],
        engines=np.full(len(order), engine),
    )
    return MaskSet(renumbered[np.newaxis], table)
