"""The interval code: thousands of nested masks in one integer map and a small table.

A layer is a laminar family: any two of its masks are nested or disjoint, so they form a forest.
Number the atoms of the forest (the regions no mask cuts further) 1..n in depth-first order; then
every mask is one interval of numbers, `mask = (rank >= first) & (rank <= last)`. Masks that cross
go to further layers. A crop or a warp moves one map, however many masks it carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.volume.box import Box, shifted

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
        within: NDArray[np.bool_] = (rank >= self.table.first[row]) & (rank <= self.table.last[row])
        return within

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


@dataclass(frozen=True, eq=False)
class CutMask:
    """One mask, cut to its box."""

    box: Box
    mask: NDArray[np.bool_]  # of the box; each of its six faces holds a voxel
    voxels: int
    score: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], score: float) -> CutMask:
        """Cut a mask (D, H, W) that is not empty."""
        found = ndimage.find_objects(mask.astype(np.uint8))
        assert found, "an empty mask"
        box = cast("Box", found[0])
        inside = np.ascontiguousarray(mask[box])
        return cls(box, inside, int(inside.sum()), score)

    def moved(self, by: tuple[int, int, int]) -> CutMask:
        """The same mask, `by` voxels further along (D, H, W)."""
        return replace(self, box=shifted(self.box, by))


def empty(shape: tuple[int, int, int]) -> MaskSet:
    """A set without masks or layers over a (D, H, W) volume."""
    nothing = np.zeros(0)
    table = MaskTable(
        layer=nothing.astype(np.int16),
        first=nothing.astype(np.uint32),
        last=nothing.astype(np.uint32),
        parent=nothing.astype(np.int32),
        voxels=nothing.astype(np.int64),
        box=np.zeros((0, 6), np.int32),
        score=nothing.astype(np.float32),
        engine=nothing.astype("U1"),
    )
    return MaskSet(np.zeros((0, *shape), np.uint16), table)


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
    crops: list[CutMask] = []
    for index, mask in enumerate(masks):
        shape = shape or cast("tuple[int, int, int]", mask.shape)
        assert mask.shape == shape, f"mask {index} has shape {mask.shape}, the others {shape}"
        crops.append(CutMask.of(mask, 1.0 if scores is None else float(scores[index])))
    assert shape is not None, "no masks and no shape"
    return pack(crops, shape=shape, engine=engine)


def pack(crops: Iterable[CutMask], *, shape: tuple[int, int, int], engine: str) -> MaskSet:
    """As `encode`, for masks that are cut to their boxes within a volume of `shape`."""
    packings: list[_Packing] = []
    ordered = sorted(crops, key=lambda c: (-c.voxels, -c.score))  # stable: equal ones in order
    numbers = np.min_scalar_type(len(ordered))  # masks that cross take many maps at once
    for crop in ordered:
        if not any(packing.take(crop) for packing in packings):
            packings.append(_Packing(shape, numbers))
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
    table = _table(
        renumbered,
        first=starts[np.searchsorted(edges, low)],
        last=starts[np.searchsorted(edges, high) - 1],
        scores=scores,
        engine=engine,
    )
    return MaskSet(renumbered[np.newaxis], table)


def _table(
    ranks: Ranks,
    *,
    first: NDArray[Any],
    last: NDArray[Any],
    scores: NDArray[Any],
    engine: str | NDArray[np.str_],
) -> MaskTable:
    """The table of one layer (D, H, W), rows sorted so that parents stand before children.

    Intervals that cover the same atoms are the same mask: the first of them stays.
    """
    order = np.lexsort((-np.asarray(scores, np.float64), -last.astype(np.int64), first))
    first, last = first[order].astype(np.int64), last[order].astype(np.int64)
    new = np.ones(len(order), bool)
    new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    order, first, last = order[new], first[new], last[new]
    atoms = int(last.max(initial=0))
    counts = np.bincount(ranks.ravel(), minlength=atoms + 1)
    up_to = np.cumsum(counts[1:])
    engines = [engine] * len(order) if isinstance(engine, str) else engine[order].tolist()
    return MaskTable(
        layer=np.zeros(len(order), np.int16),
        first=first.astype(np.uint32),
        last=last.astype(np.uint32),
        parent=_parents(first, last),
        voxels=(up_to[last - 1] - up_to[first - 1] + counts[first]).astype(np.int64),
        box=_boxes(ranks, first, last, atoms),
        score=np.asarray(scores)[order].astype(np.float32),
        engine=np.array(engines, np.str_),  # as wide as its longest name, whatever it came from
    )


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


class _Packing:
    """One layer in the making. Masks come largest first, so a new one is inside or disjoint.

    The map holds, for each voxel, the smallest mask there (its number in order of arrival, from
    1): a new mask fits if it lies on one number only and the mask of that number contains it.
    """

    def __init__(self, shape: tuple[int, int, int], numbers: np.dtype[Any]) -> None:
        self.smallest = np.zeros(shape, numbers)
        self.parent: list[int] = []  # numbers; 0 is the outside
        self.voxels: list[int] = []
        self.scores: list[float] = []

    def take(self, crop: CutMask) -> bool:
        """Add a mask if it is nested in or disjoint from all; a repeated mask is dropped."""
        there = self.smallest[crop.box]
        beneath = there[crop.mask]
        around = int(beneath[0])
        if (beneath != around).any():
            return False
        if around and self.voxels[around - 1] == crop.voxels:
            self.scores[around - 1] = max(self.scores[around - 1], crop.score)
            return True
        self.parent.append(around)
        self.voxels.append(crop.voxels)
        self.scores.append(crop.score)
        there[crop.mask] = len(self.parent)
        return True

    def finish(self, engine: str) -> MaskSet:
        """The layer: each mask is its own remainder (a leaf) and its children."""
        count = len(self.parent)
        # leaves 0..count-1 are the remainders; node count + i is mask count - i, so that parents,
        # which came earlier, have higher indices; the root is the outside
        node = np.array([2 * count - number for number in range(count + 1)])
        parents = np.empty(2 * count + 1, np.int64)
        parents[:count] = node[1:]
        parents[node[1:]] = node[self.parent]
        parents[2 * count] = 2 * count
        return encode_tree(
            self.smallest,
            parents=parents,
            nodes=node[1:],
            scores=np.array(self.scores),
            engine=engine,
        )
