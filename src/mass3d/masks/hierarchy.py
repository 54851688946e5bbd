"""The default engine: masks from hierarchies of watershed regions, without weights or labels.

One layer per tree: window the intensities, cut the scan into small watershed regions, build the
graph of their neighbours, and merge it up to the whole scan. Every node of the tree is a region
that some scale believes in; `select` keeps those worth learning from. The trees differ in window,
smoothing and merging order, because no single order finds every structure (experiments/masks.md).
Watershed hierarchies: Cousty et al. 2018; library: Higra, Perret et al. 2019.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.segmentation import watershed

from mass3d.config import Config
from mass3d.masks.layers import MaskSet, concatenate, empty, encode_tree
from mass3d.masks.merge import Graph, Merging, merge
from mass3d.masks.select import SelectionConfig, select_nodes
from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.volume import Modality

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
WindowName = Literal["soft", "narrow", "wide", "bone", "full", "low", "high"]

# CT windows in HU; MR and PET windows as fractions of the scan's own clipped range.
WINDOWS: Final[dict[WindowName, tuple[float, float]]] = {
    "soft": (-160.0, 240.0),
    "narrow": (-40.0, 160.0),
    "wide": (-991.0, 500.0),
    "bone": (50.0, 500.0),
    "full": (0.0, 1.0),
    "low": (0.0, 0.5),
    "high": (0.4, 1.0),
}
ENGINE = "hierarchy"


class TreeConfig(Config):
    """One tree, which becomes one layer."""

    window: WindowName
    """Intensities that matter; those outside are clipped to its ends."""
    sigma_vox: float = Field(ge=0.3)
    """Smoothing of the gradient that the regions are cut from; less than 0.3 is no smoothing."""
    merging: Merging
    """Which neighbours merge first: weak mean edge (edge), weak edge and alike in mean intensity
    (contrast), least variance added (ward, slow where a region has thousands of neighbours); or
    the watershed hierarchy whose basins go by volume, area or dynamics."""


def _trees(*rows: tuple[WindowName, float, Merging]) -> tuple[TreeConfig, ...]:
    return tuple(TreeConfig(window=w, sigma_vox=s, merging=m) for w, s, m in rows)


class HierarchyConfig(Config):
    """Settings of the `hierarchy` engine."""

    ct: tuple[TreeConfig, ...] = _trees(
        ("soft", 0.3, "edge"),
        ("bone", 1.0, "contrast"),
        ("narrow", 0.3, "area"),
        ("narrow", 1.0, "volume"),
        ("bone", 1.0, "volume"),
        ("wide", 0.5, "contrast"),
    )
    """Trees of a CT."""
    other: tuple[TreeConfig, ...] = _trees(
        ("full", 0.3, "edge"),
        ("low", 0.5, "volume"),
        ("full", 1.0, "volume"),
        ("full", 0.5, "contrast"),
        ("high", 0.5, "dynamics"),
        ("full", 0.3, "area"),
    )
    """Trees of MR and PET."""
    selection: SelectionConfig = SelectionConfig()
    """Which nodes of a tree become masks."""


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
    body = fill_axial(body_mask(raw, modality))
    layers = []
    cut: dict[tuple[str, float], Graph | None] = {}  # trees of one window and scale share it
    for tree in config.ct if modality == "ct" else config.other:
        key = (tree.window, tree.sigma_vox)
        if key not in cut:
            cut[key] = build_graph(windowed(raw, tree.window, modality), tree.sigma_vox)
        graph = cut[key]
        if graph is not None:
            layers.append(
                _layer(graph, tree.merging, body, config.selection, spacing_mm=spacing_mm)
            )
    found = [layer for layer in layers if len(layer)]
    return concatenate(found) if found else empty((image.shape[0], image.shape[1], image.shape[2]))


def windowed(raw: NDArray[np.float32], window: WindowName, modality: Modality) -> Floats:
    """Raw intensities as fractions of a window, clipped to [0, 1]."""
    low, high = WINDOWS[window]
    if modality != "ct":
        bottom, top = float(raw.min()), float(raw.max())
        low, high = bottom + low * (top - bottom), bottom + high * (top - bottom)
    fraction: Floats = np.clip((raw - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return fraction


def build_graph(image: Floats, sigma_vox: float) -> Graph | None:
    """Watershed regions of the smoothed gradient and their neighbours; None for one region."""
    gradient = ndimage.gaussian_gradient_magnitude(image, sigma_vox, mode="nearest")
    seeds, _ = ndimage.label(gradient == ndimage.minimum_filter(gradient, 3))
    regions = watershed(gradient, seeds).astype(np.int32)
    count = int(regions.max())
    if count < 2:
        return None
    first, second, edge, border = _neighbours(regions, gradient, count)
    size = np.bincount(regions.ravel(), minlength=count + 1)[1:].astype(np.float64)
    total = np.bincount(regions.ravel(), weights=image.ravel(), minlength=count + 1)[1:]
    return Graph(regions, first, second, edge, border, size, total / size)


def _neighbours(
    regions: NDArray[np.int32], gradient: Floats, count: int
) -> tuple[Integers, Integers, Floats, Floats]:
    """Pairs of touching regions (from 0), the mean gradient on their border and its faces."""
    pairs, weights = [], []
    for axis in range(3):
        n = regions.shape[axis]
        here, there = regions.take(range(n - 1), axis), regions.take(range(1, n), axis)
        differ = here != there
        a, b = here[differ].astype(np.int64) - 1, there[differ].astype(np.int64) - 1
        pairs.append(np.minimum(a, b) * count + np.maximum(a, b))
        weights.append(
            np.maximum(gradient.take(range(n - 1), axis), gradient.take(range(1, n), axis))[differ]
        )
    pair, where, faces = np.unique(np.concatenate(pairs), return_inverse=True, return_counts=True)
    edge = np.bincount(where, weights=np.concatenate(weights)) / faces
    return pair // count, pair % count, edge, faces.astype(np.float64)


def _layer(
    graph: Graph,
    merging: Merging,
    body: NDArray[np.bool_],
    selection: SelectionConfig,
    *,
    spacing_mm: float,
) -> MaskSet:
    parents, altitudes = merge(graph, merging)
    inside = np.bincount(graph.regions[body], minlength=len(graph.size) + 1)[1:]
    size = _sums(parents, graph.size)
    nodes, scores = select_nodes(
        parents,
        altitudes,
        size=size,
        in_body=_sums(parents, inside) / size,
        voxel_mm3=spacing_mm**3,
        config=selection,
    )
    return encode_tree(graph.regions, parents=parents, nodes=nodes, scores=scores, engine=ENGINE)


def _sums(parents: Integers, of_leaves: NDArray[Any]) -> Floats:
    """Sum of the leaves below every node; parents have higher indices."""
    total = np.zeros(len(parents))
    total[: len(of_leaves)] = of_leaves
    for node in range(len(parents) - 1):
        total[parents[node]] += total[node]
    return total
