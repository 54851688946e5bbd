"""The default engine: masks from hierarchies of watershed regions, without weights or labels.

One layer per tree: window the intensities, cut the scan into small watershed regions, build the
graph of their neighbours, and merge it up to the whole scan. Every node of the tree is a region
that some scale believes in; `select` keeps those worth learning from. The trees differ in window,
smoothing and merging order, because no single order finds every structure (experiments/masks.md).
Watershed hierarchies: Cousty et al. 2018; library: Higra, Perret et al. 2019.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import higra as hg
import numpy as np
from numpy.typing import NDArray

from mass3d.masks.hierarchy.merging import merge
from mass3d.masks.hierarchy.regions import Graph, build_graph, region_sums, relabel
from mass3d.masks.hierarchy.select import select_nodes
from mass3d.masks.hierarchy.settings import (
    WINDOWS,
    WINDOWS_HU,
    HierarchyConfig,
    Merging,
    SelectionConfig,
    WindowName,
)
from mass3d.masks.layers import MaskSet, concatenate, empty, encode_tree
from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.volume import Modality

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

ENGINE = "hierarchy"


def propose(
    image: NDArray[np.float32],
    *,
    spacing_mm: float,
    modality: Modality,
    mean: float,
    std: float,
    config: HierarchyConfig,
) -> MaskSet:
    """Masks of a prepared scan, one layer per tree that finds any.

    image (D, H, W), normalised; raw intensities are `image * std + mean`. Equal input gives equal
    masks. A constant scan gives none.
    """
    raw = image * np.float32(std) + np.float32(mean)
    body = fill_axial(_tissue(raw, modality))
    layers: list[MaskSet] = []
    trees = {"ct": config.ct, "mr": config.mr, "pet": config.pet}[modality]
    for (window, sigma_vox), alike in groupby(trees, key=lambda t: (t.window, t.sigma_vox)):
        layers += _layers(
            windowed(raw, window, modality),
            sigma_vox,
            [tree.merging for tree in alike],
            body=body,
            selection=config.selection,
            spacing_mm=spacing_mm,
        )
    found = [layer for layer in layers if len(layer)]
    return concatenate(found) if found else empty((image.shape[0], image.shape[1], image.shape[2]))


def windowed(raw: NDArray[np.float32], window: WindowName, modality: Modality) -> Floats:
    """Raw intensities as fractions of a window, clipped to [0, 1]."""
    if modality == "ct":
        low, high = WINDOWS_HU[window]
    else:
        bottom, top = float(raw.min()), float(raw.max())
        low, high = (bottom + share * (top - bottom) for share in WINDOWS[window])
    fraction = raw - np.float32(low)
    fraction /= np.float32(max(high - low, 1e-6))
    np.clip(fraction, 0, 1, out=fraction)
    return np.sqrt(fraction, out=fraction) if window == "root" else fraction


def _tissue(raw: NDArray[np.float32], modality: Modality) -> NDArray[np.bool_]:
    """Voxels (D, H, W) above air: in MR and PET those above the floor they were clipped to.

    That floor lies just within the body (`PreparationConfig.percentiles`). To look for air once
    more would find muscle: in T1 it is far darker than fat, and all the air is at the floor.
    """
    return body_mask(raw, modality) if modality == "ct" else raw > raw.min()


def _layers(
    image: Floats,
    sigma_vox: float,
    mergings: list[Merging],
    *,
    body: NDArray[np.bool_],
    selection: SelectionConfig,
    spacing_mm: float,
) -> list[MaskSet]:
    """One layer per merging order, from the same regions; none where there is but one region."""
    graph = build_graph(image, sigma_vox)
    if graph is None:
        return []
    return [_layer(graph, merging, body, selection, spacing_mm=spacing_mm) for merging in mergings]


def _layer(
    graph: Graph,
    merging: Merging,
    body: NDArray[np.bool_],
    selection: SelectionConfig,
    *,
    spacing_mm: float,
) -> MaskSet:
    parents, altitudes = merge(graph, merging)
    leaves = len(graph.size)
    size = _sums(parents, graph.size)
    nodes, scores = select_nodes(
        parents,
        altitudes,
        size=size,
        in_body=_sums(parents, region_sums(graph.regions, body, leaves)) / size,
        voxel_mm3=spacing_mm**3,
        config=selection,
    )
    number, parents, nodes = _contract(parents, nodes, leaves)
    atoms = relabel(graph.regions, number)
    return encode_tree(atoms, parents=parents, nodes=nodes, scores=scores, engine=ENGINE)


def _sums(parents: Integers, of_leaves: Floats) -> Floats:
    """Sum of the leaves below every node (N,)."""
    total: Floats = hg.accumulate_sequential(hg.Tree(parents), of_leaves, hg.Accumulators.sum)
    return total


def _contract(
    parents: Integers, nodes: NDArray[np.int64], leaves: int
) -> tuple[Integers, NDArray[np.int64], NDArray[np.int64]]:
    """The tree of the given nodes alone, whose leaves are what each has beside its children.

    Returns the new leaf of every old one (leaves,), from 1; the new parents; and the given nodes
    in the new tree. A tree has millions of nodes, of which a few thousand are masks.
    """
    root = len(parents) - 1
    ends = np.append(nodes, root)
    passed = np.ones(len(parents), bool)
    passed[ends] = False
    around = hg.propagate_sequential(hg.Tree(parents), np.arange(len(parents)), passed)
    rest, number = np.unique(around[:leaves], return_inverse=True)
    place = len(rest) + np.arange(len(ends))
    above = np.concatenate([rest, around[parents[ends]]])
    return number + 1, place[np.searchsorted(ends, above)], place[:-1]
