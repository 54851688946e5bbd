"""How good a set of masks is: figures without labels, and best Dice where labels are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.masks.layers import MaskSet


@dataclass(frozen=True)
class Quality:
    """Figures of the masks of one case."""

    num_masks: int
    num_layers: int
    coverage: float  # share of the body, or of the scan, that lies in some mask
    depth: int  # most masks of one layer around a voxel
    overlap: float  # masks per covered voxel, over all layers
    voxels: tuple[int, int, int]  # smallest, median and largest mask
    sizes: tuple[int, ...]  # masks per octave of voxels, from one voxel on


def measure(masks: MaskSet, *, body: NDArray[np.bool_] | None = None) -> Quality:
    """Figures of a set; `body` (D, H, W) is what should be covered, the whole scan if None."""
    table = masks.table
    if not len(masks):
        return Quality(0, 0, 0.0, 0, 0.0, (0, 0, 0), ())
    covered = (masks.ranks > 0).any(axis=0)
    share = covered.mean() if body is None else (covered & body).sum() / max(1, body.sum())
    octaves = np.bincount(np.floor(np.log2(table.voxels)).astype(int))
    return Quality(
        num_masks=len(masks),
        num_layers=len(masks.ranks),
        coverage=float(share),
        depth=int(table.depths().max()) + 1,
        overlap=float(table.voxels.sum() / covered.sum()),
        voxels=(
            int(table.voxels.min()),
            int(np.median(table.voxels)),
            int(table.voxels.max()),
        ),
        sizes=tuple(int(n) for n in octaves),
    )


def best_dice(masks: MaskSet, label: NDArray[np.integer[Any]]) -> dict[int, float]:
    """The best Dice that any single mask reaches, for every structure of a label (D, H, W).

    For evaluation only: engines never see a label. Counts per rank and structure are summed over
    the intervals, so no mask is ever made.
    """
    values, where = np.unique(label, return_inverse=True)
    structures = where.reshape(label.shape)
    total = np.bincount(structures.ravel(), minlength=len(values))
    best = np.zeros(len(values))
    for layer, ranks in enumerate(masks.ranks):
        rows = np.flatnonzero(masks.table.layer == layer)
        if not len(rows):
            continue
        key = ranks.astype(np.int64) * len(values) + structures
        length = (int(ranks.max()) + 1) * len(values)
        counts = np.bincount(key.ravel(), minlength=length).reshape(-1, len(values))
        up_to = np.cumsum(counts, axis=0)
        first, last = masks.table.first[rows].astype(int), masks.table.last[rows].astype(int)
        shared = up_to[last] - up_to[first - 1]
        dice = 2 * shared / (masks.table.voxels[rows][:, None] + total)
        best = np.maximum(best, dice.max(axis=0))
    return {int(v): float(b) for v, b in zip(values, best, strict=True) if v != 0}
