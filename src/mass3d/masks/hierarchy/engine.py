"""The default engine: masks from hierarchies of watershed regions, without weights or labels.

One layer per tree: window the intensities, cut the scan into small watershed regions, build the
graph of their neighbours, and merge it up to the whole scan. Every node of the tree is a region
that some scale believes in; `select` keeps those worth learning from. The trees differ in window,
smoothing and merging order, because no single order finds every structure (experiments/masks.md).
Watershed hierarchies: Cousty et al. 2018; library: Higra, Perret et al. 2019.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final, Literal

import higra as hg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from mass3d.config import Config
from mass3d.masks.hierarchy.merging import Merging, merge
from mass3d.masks.hierarchy.regions import Graph, build_graph, region_sums, relabel
from mass3d.masks.hierarchy.select import SelectionConfig, select_nodes
from mass3d.masks.layers import MaskSet, concatenate, empty, encode_tree
from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.volume import Modality

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
WindowName = Literal["soft", "narrow", "wide", "bone", "full", "root", "low", "high"]

# CT windows in HU.
WINDOWS_HU: Final[dict[WindowName, tuple[float, float]]] = {
    "soft": (-160.0, 240.0),
    "narrow": (-40.0, 160.0),
    "wide": (-991.0, 500.0),
    "bone": (50.0, 500.0),
}
# MR and PET windows, as fractions of the scan's own clipped range.
WINDOWS: Final[dict[WindowName, tuple[float, float]]] = {
    "full": (0.0, 1.0),
    "root": (0.0, 1.0),  # and the square root of it: dark tissues apart, whatever a coil's shading
    "low": (0.0, 0.5),
    "high": (0.4, 1.0),
}
ENGINE = "hierarchy"


class TreeConfig(Config):
    """One tree, which becomes one layer."""

    window: WindowName
    """Intensities that matter; those outside are clipped to its ends. For CT soft, narrow, wide or
    bone; for MR and PET full, root (its square root), low or high."""
    sigma_vox: float = Field(ge=0.3)
    """Smoothing of the gradient that the regions are cut from; less than 0.3 is no smoothing."""
    merging: Merging
    """Which neighbours merge first: those with a weak border (edge), with a weak border and alike
    in intensity (contrast), the same with small regions before large ones (balanced); or the
    watershed hierarchy whose basins go by volume, area or dynamics."""


def _trees(*rows: tuple[WindowName, float, Merging]) -> tuple[TreeConfig, ...]:
    return tuple(TreeConfig(window=w, sigma_vox=s, merging=m) for w, s, m in rows)


class HierarchyConfig(Config):
    """Settings of the `hierarchy` engine."""

    ct: tuple[TreeConfig, ...] = _trees(
        ("soft", 0.5, "edge"),
        ("soft", 0.5, "contrast"),
        ("soft", 0.5, "volume"),
        ("narrow", 0.5, "balanced"),
        ("narrow", 1.0, "edge"),
        ("bone", 1.0, "balanced"),
    )
    """Trees of a CT."""
    mr: tuple[TreeConfig, ...] = _trees(
        ("full", 1.0, "contrast"),
        ("full", 1.0, "volume"),
        ("full", 0.5, "volume"),
        ("low", 0.5, "contrast"),
        ("high", 0.5, "contrast"),
        ("root", 0.3, "edge"),
    )
    """Trees of an MR."""
    pet: tuple[TreeConfig, ...] = _trees(
        ("root", 0.5, "balanced"),
        ("low", 1.0, "volume"),
        ("high", 1.0, "volume"),
        ("full", 0.5, "contrast"),
    )
    """Trees of a PET."""
    selection: SelectionConfig = SelectionConfig()
    """Which nodes of a tree become masks."""

    @field_validator("ct", "mr", "pet")
    @classmethod
    def _windows_of_the_modality(
        cls, trees: tuple[TreeConfig, ...], info: ValidationInfo
    ) -> tuple[TreeConfig, ...]:
        known = WINDOWS_HU if info.field_name == "ct" else WINDOWS
        strange = [tree.window for tree in trees if tree.window not in known]
        if strange:
            raise ValueError(f"{strange[0]} is no window of it; there are {', '.join(known)}")
        return trees


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
