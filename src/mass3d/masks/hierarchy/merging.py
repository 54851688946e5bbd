"""Merging orders: from a graph of neighbouring regions to the tree of their unions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import higra as hg
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mass3d.masks.hierarchy.regions import Graph, Pairs
from mass3d.masks.hierarchy.settings import Merging

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

STEP = 0.3  # of the nearest neighbours are merged per round before edges are averaged anew


def merge(graph: Graph, merging: Merging) -> tuple[NDArray[np.int64], Floats]:
    """The tree of a merging order.

    Returns the parent of every node (N,), leaves 0..R-1 first, parents after their children, the
    root its own; and the altitude (N,) at which each node formed, 0 for leaves.
    """
    if merging in ("edge", "contrast", "balanced"):
        tree, altitudes = _linkage(graph, merging)
    else:
        tree, altitudes = _watersheds(graph, merging)
    return tree.parents().astype(np.int64), altitudes


def _watersheds(graph: Graph, merging: Merging) -> tuple[Any, Floats]:
    """The hierarchy of watersheds, its basins ordered by an attribute.

    It depends on the minimum spanning tree alone (Cousty et al. 2018), which is a tenth of the
    graph; the weights are raised by one, because scipy takes an edge of weight zero for none.
    """
    count = len(graph.size)
    links = (graph.edge.astype(np.float64) + 1, (graph.first, graph.second))
    spanning = sparse.csgraph.minimum_spanning_tree(
        sparse.coo_array(links, shape=(count, count)).tocsr()
    ).tocoo()
    pairs = hg.UndirectedGraph(count)
    pairs.add_edges(spanning.row, spanning.col)
    edge = spanning.data - 1
    found: tuple[Any, Floats]
    if merging == "volume":
        found = hg.watershed_hierarchy_by_volume(pairs, edge, vertex_area=graph.size)
    elif merging == "area":
        found = hg.watershed_hierarchy_by_area(pairs, edge, vertex_area=graph.size)
    else:
        found = hg.watershed_hierarchy_by_dynamics(pairs, edge)
    return found


def _linkage(graph: Graph, merging: Merging) -> tuple[Any, Floats]:
    """Average linkage of what holds regions apart, in rounds instead of one merge at a time.

    Every region names its weakest border; the weakest `STEP` of those named are opened at once,
    and what holds the merged regions apart becomes an average over their shared faces. Merging
    singly, as `higra.binary_partition_tree_average_linkage` does, visits all neighbours of a
    background of thousands at each of its thousands of merges; rounds are linear in the borders
    left, need about a twentieth of the time, and find masks as good (experiments/masks.md).
    """
    now = _Round.of(graph, merging)
    opened, altitudes = [], []
    while len(now.first):
        strength = now.strength(merging)
        chosen = weakest(strength, now.first, now.second, count=len(now.size))
        opened.append(now.seam[chosen])
        altitudes.append(strength[chosen])
        now = now.merged(chosen)
    seams = np.concatenate(opened)
    forest = hg.UndirectedGraph(len(graph.size))
    forest.add_edges(graph.first[seams], graph.second[seams])
    found: tuple[Any, Floats] = hg.bpt_canonical(forest, np.concatenate(altitudes))
    return found


def weakest(strength: Floats, first: Integers, second: Integers, *, count: int) -> Integers:
    """Borders (E,) that are the weakest one of either of their regions: the weaker `STEP` of them.

    Equally weak borders are all named, and all opened if one is.
    """
    lowest = np.full(count, np.inf, strength.dtype)
    np.minimum.at(lowest, first, strength)
    np.minimum.at(lowest, second, strength)
    named = np.flatnonzero(strength <= np.maximum(lowest[first], lowest[second]))
    last = max(0, int(STEP * len(named)) - 1)
    chosen: Integers = named[strength[named] <= np.partition(strength[named], last)[last]]
    return chosen


@dataclass(frozen=True)
class _Round:
    """The regions and borders of one round."""

    first: Integers  # (E,)
    second: Integers  # (E,)
    apart: Floats  # (E,) what holds the two regions apart, averaged over their shared faces
    border: Floats  # (E,) voxel faces they share
    seam: Integers  # (E,) one of the graph's own edges between them
    size: Floats  # (R,) voxels

    @classmethod
    def of(cls, graph: Graph, merging: Merging) -> _Round:
        apart = graph.edge
        if merging != "edge":
            apart = 0.5 * apart + np.abs(graph.mean[graph.first] - graph.mean[graph.second])
        seam = np.arange(len(apart))
        return cls(graph.first, graph.second, apart, graph.border, seam, graph.size)

    def strength(self, merging: Merging) -> Floats:
        """(E,) How late the borders are to be opened."""
        if merging != "balanced":
            return self.apart
        n, m = self.size[self.first], self.size[self.second]
        strength: Floats = self.apart * (n * m / (n + m)) ** 0.25
        return strength

    def merged(self, chosen: Integers) -> _Round:
        """After the two regions of each chosen border have become one region."""
        regions = len(self.size)
        links = (np.ones(len(chosen), np.int8), (self.first[chosen], self.second[chosen]))
        count, label = sparse.csgraph.connected_components(
            sparse.coo_array(links, shape=(regions, regions)), directed=False
        )
        a, b = label[self.first], label[self.second]
        left = a != b
        pairs = Pairs.of(a[left], b[left], count=count)
        border = pairs.sum(self.border[left])
        apart = pairs.sum((self.apart * self.border)[left]) / border
        size = np.zeros(count)
        np.add.at(size, label, self.size)
        seam = pairs.lowest(self.seam[left])
        return _Round(pairs.first, pairs.second, apart, border, seam, size)
