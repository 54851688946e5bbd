"""Merging orders: from a graph of neighbouring regions to the tree of their unions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import higra as hg
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Merging = Literal["edge", "contrast", "ward", "volume", "area", "dynamics"]

STEP = 0.3  # of the nearest neighbours are merged per round before edges are averaged anew


@dataclass(frozen=True)
class Graph:
    """Regions 1..R of a scan as a graph of neighbours; a pair of them is one of E edges."""

    regions: NDArray[np.int32]  # (D, H, W), 1..R
    first: Integers  # (E,) the one region of a pair, from 0
    second: Integers  # (E,) the other
    edge: Floats  # (E,) mean gradient along their border
    border: Floats  # (E,) voxel faces they share
    size: Floats  # (R,) voxels
    mean: Floats  # (R,) mean windowed intensity


def merge(graph: Graph, merging: Merging) -> tuple[NDArray[np.int64], Floats]:
    """The tree of a merging order.

    Returns the parent of every node (N,), leaves 0..R-1 first, parents after their children, the
    root its own; and the altitude (N,) at which each node formed, 0 for leaves.
    """
    tree, altitudes = _merge(graph, merging)
    return tree.parents().astype(np.int64), altitudes


def _merge(graph: Graph, merging: Merging) -> tuple[Any, Floats]:
    found: tuple[Any, Floats]
    if merging in ("edge", "contrast"):
        return _average_linkage(graph, with_contrast=merging == "contrast")
    pairs = hg.UndirectedGraph(len(graph.size))
    pairs.add_edges(graph.first, graph.second)
    if merging == "volume":
        found = hg.watershed_hierarchy_by_volume(pairs, graph.edge, vertex_area=graph.size)
    elif merging == "area":
        found = hg.watershed_hierarchy_by_area(pairs, graph.edge, vertex_area=graph.size)
    elif merging == "dynamics":
        found = hg.watershed_hierarchy_by_dynamics(pairs, graph.edge)
    else:
        found = hg.binary_partition_tree_ward_linkage(
            pairs, graph.mean[:, None], vertex_sizes=graph.size
        )
    return found


def _average_linkage(graph: Graph, *, with_contrast: bool) -> tuple[Any, Floats]:
    """Average linkage of the border strengths, in rounds instead of one merge at a time.

    Every region names its weakest border; the weakest `STEP` of those named are opened at once,
    and the strengths between the merged regions become averages over their shared faces. Merging
    singly, as `higra.binary_partition_tree_average_linkage` does, visits all neighbours of a
    background of thousands at each of its thousands of merges; rounds cost a sort each, need
    about a twentieth of the time, and find masks as good (experiments/masks.md).
    """
    now = _Neighbours.of(graph, with_contrast=with_contrast)
    opened, altitudes = [], []
    while len(now.seam):
        chosen = now.weakest()
        opened.append(now.seam[chosen])
        altitudes.append(now.strength[chosen])
        now = now.merged(chosen)
    seams = np.concatenate(opened)
    forest = hg.UndirectedGraph(len(graph.size))
    forest.add_edges(graph.first[seams], graph.second[seams])
    found: tuple[Any, Floats] = hg.bpt_canonical(forest, np.concatenate(altitudes))
    return found


@dataclass(frozen=True)
class _Neighbours:
    """The pairs of neighbours of one round, among `count` regions."""

    count: int
    first: Integers  # (E,)
    second: Integers  # (E,)
    strength: Floats  # (E,) of their border
    border: NDArray[np.number[Any]]  # (E,) voxel faces they share
    seam: Integers  # (E,) one of the graph's own edges between them

    @classmethod
    def of(cls, graph: Graph, *, with_contrast: bool) -> _Neighbours:
        strength = graph.edge
        if with_contrast:
            differ = np.abs(graph.mean[graph.first] - graph.mean[graph.second])
            strength = 0.5 * strength + differ
        seam = np.arange(len(strength))
        return cls(len(graph.size), graph.first, graph.second, strength, graph.border, seam)

    def weakest(self) -> NDArray[np.int64]:
        """Pairs that are the weakest one of either of their regions: the weaker `STEP` of them."""
        order = np.argsort(self.strength, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        lowest = np.full(self.count, len(order), np.int64)
        np.minimum.at(lowest, self.first, rank)
        np.minimum.at(lowest, self.second, rank)
        named = np.unique(lowest[lowest < len(order)])
        return order[named[: max(1, int(STEP * len(named)))]]

    def merged(self, chosen: Integers) -> _Neighbours:
        """The pairs after the two regions of each chosen one have become one region."""
        links = (np.ones(len(chosen), np.int8), (self.first[chosen], self.second[chosen]))
        count, label = sparse.csgraph.connected_components(
            sparse.coo_array(links, shape=(self.count, self.count)), directed=False
        )
        a, b = label[self.first].astype(np.int64), label[self.second].astype(np.int64)
        apart = a != b
        pair, seam, where = np.unique(
            (np.minimum(a, b) * count + np.maximum(a, b))[apart],
            return_index=True,
            return_inverse=True,
        )
        border = np.bincount(where, weights=self.border[apart])
        total = np.bincount(where, weights=(self.strength * self.border)[apart])
        return _Neighbours(
            count, pair // count, pair % count, total / border, border, self.seam[apart][seam]
        )
