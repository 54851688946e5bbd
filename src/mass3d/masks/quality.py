"""How good a set of masks is: figures without labels, and best Dice where labels are at hand.

Masks of different layers or engines are compared through counts of the voxels that two ranks share;
no mask is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mass3d.masks.layers import MaskSet
from mass3d.masks.table import Ranks

SLAB_VOXELS = 2**20


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
        rows = masks.table.rows_in(layer)
        if not len(rows):
            continue
        key = ranks.astype(np.int64) * len(values) + structures
        length = (int(ranks.max()) + 1) * len(values)
        counts = np.bincount(key.ravel(), minlength=length).reshape(-1, len(values))
        shared = masks.table.sums(rows, counts)
        dice = 2 * shared / (masks.table.voxels[rows][:, None] + total)
        best = np.maximum(best, dice.max(axis=0))
    return {int(v): float(b) for v, b in zip(values, best, strict=True) if v != 0}


def by_engine(masks: MaskSet) -> dict[str, MaskSet]:
    """The masks of each engine, in the order of their layers."""
    engines = masks.table.engine
    return {
        str(name): masks.keep(np.flatnonzero(engines == name)) for name in dict.fromkeys(engines)
    }


def agreement(masks: MaskSet, others: MaskSet) -> tuple[float, float]:
    """How much two sets over one grid are alike.

    Mean over `masks` of the best IoU that each has with any of `others`, and the other way round;
    0 where one has no masks.
    """
    if not len(masks) or not len(others):
        return 0.0, 0.0
    best, best_of_others = np.zeros(len(masks)), np.zeros(len(others))
    for layer, ranks in enumerate(masks.ranks):
        rows = masks.table.rows_in(layer)
        for other, other_ranks in enumerate(others.ranks):
            columns = others.table.rows_in(other)
            shared = _memberships(masks, rows) @ _pairs(ranks, other_ranks)
            shared = (shared @ _memberships(others, columns).T).toarray()
            sizes = masks.table.voxels[rows][:, None] + others.table.voxels[columns]
            iou = shared / (sizes - shared)
            best[rows] = np.maximum(best[rows], iou.max(axis=1))
            best_of_others[columns] = np.maximum(best_of_others[columns], iou.max(axis=0))
    return float(best.mean()), float(best_of_others.mean())


def _pairs(ranks: Ranks, others: Ranks) -> sparse.csr_array:
    """Voxels of two maps (D, H, W) by the pair of their ranks, in slabs to save memory."""
    shape = int(ranks.max()) + 1, int(others.max()) + 1
    counts = sparse.csr_array(shape, dtype=np.int64)
    step = max(1, SLAB_VOXELS // ranks[0].size)
    for start in range(0, len(ranks), step):
        slab = ranks[start : start + step].ravel(), others[start : start + step].ravel()
        ones = np.ones(slab[0].size, np.int64)
        counts = counts + sparse.coo_array((ones, slab), shape=shape).tocsr()
    return counts


def _memberships(masks: MaskSet, rows: NDArray[np.int64]) -> sparse.csr_array:
    """(masks, ranks) 1 where a rank of their layer lies in a mask."""
    first = masks.table.first[rows].astype(np.int64)
    lengths = masks.table.last[rows].astype(np.int64) + 1 - first
    starts = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.arange(starts[-1]) - np.repeat(starts[:-1] - first, lengths)
    ranks = int(masks.ranks[masks.table.layer[rows[0]]].max()) + 1
    return sparse.csr_array(
        (np.ones(starts[-1], np.int64), columns, starts), shape=(len(rows), ranks)
    )
