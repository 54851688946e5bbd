"""Which proposals become masks: by size, by persistence, spread over sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.masks.hierarchy.settings import SelectionConfig

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def select_nodes(
    parents: Integers,
    altitudes: Floats,
    *,
    size: Floats,
    in_body: Floats,
    voxel_mm3: float,
    config: SelectionConfig,
) -> tuple[NDArray[np.int64], Floats]:
    """Nodes of a merge tree (N,) that become masks, and their persistence in [0, 1].

    Persistence is the contrast that a region survives times the log of how much it grows when it
    is merged at last: of the orders tried it keeps the best masks (experiments/masks.md). Of a
    chain of nearly equal regions the most persistent stays; if too many remain, each half octave
    of sizes keeps its best.
    """
    root = len(parents) - 1
    persistence = (altitudes[parents] - altitudes) * np.log(size[parents] / size)
    persistence /= max(float(persistence.max()), 1e-12)
    persistence[root] = 0
    low = max(config.min_vox, config.min_mm3 / voxel_mm3)
    fits = (size >= low) & (size <= config.max_share * size[root]) & (persistence > 0)
    fits &= in_body >= config.min_in_body
    fits[root] = False
    _thin_chains(fits, parents, size, persistence, config.min_growth)
    nodes = np.flatnonzero(fits)
    if len(nodes) > config.max_masks:
        nodes = _spread(nodes, size, persistence, config.max_masks)
    return nodes, persistence[nodes]


def _thin_chains(
    fits: NDArray[np.bool_], parents: Integers, size: Floats, persistence: Floats, growth: float
) -> None:
    """In place: drop the less persistent of a region and a nearly equal one around it.

    All regions look one step further out at a time, until they are dropped or what is around
    them is no longer nearly equal; so of a slow chain one stays, and none stays near another.
    """
    node = np.flatnonzero(fits)
    around = parents[node]
    while len(node):
        near = (size[around] < growth * size[node]) & fits[node]
        node, around = node[near], around[near]
        both = fits[around]
        weaker = persistence[node] < persistence[around]
        fits[np.where(weaker, node, around)[both]] = False
        inner = parents[around] != around
        node, around = node[inner], parents[around[inner]]


def _spread(
    nodes: NDArray[np.int64], size: Floats, persistence: Floats, count: int
) -> NDArray[np.int64]:
    """The `count` nodes that rank best within their half octave of sizes, in node order."""
    octave = np.round(2 * np.log2(size[nodes])).astype(int)
    order = np.lexsort((nodes, -persistence[nodes], octave))
    _, start = np.unique(octave[order], return_index=True)
    rank = np.arange(len(order)) - np.repeat(start, np.diff([*start, len(order)]))
    best = order[np.lexsort((nodes[order], rank))][:count]
    return np.sort(nodes[best])
