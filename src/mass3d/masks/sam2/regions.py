"""Tidying of masks: small holes and islands, the part at the seed, near-duplicates. No torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.masks.packing import CutMask
from mass3d.volume.box import Box, box_shape, intersection, relative_to

Mask = NDArray[np.bool_]
CORNERS = np.ones((3, 3), bool)  # pixels that touch at a corner touch


def without_small_parts(mask: Mask, least_px: float) -> Mask:
    """Fill holes and drop islands of less than `least_px` pixels of a mask (H, W).

    A mask of small islands only keeps the largest of them.
    """
    filled = mask | _small(~mask, least_px)
    parts, count = ndimage.label(filled, CORNERS)
    if count < 2:
        return filled
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    stay = sizes >= least_px
    stay[np.argmax(sizes)] = True
    stay[0] = False
    kept: Mask = stay[parts]
    return kept


def _small(mask: Mask, least_px: float) -> Mask:
    """The parts of a mask that have less than `least_px` pixels."""
    parts, _ = ndimage.label(mask, CORNERS)
    sizes = np.bincount(parts.ravel())
    small = sizes < least_px
    small[0] = False
    found: Mask = small[parts]
    return found


def part_at_seed(mask: Mask, seed: int) -> Mask:
    """The largest face-connected part of a mask (N, H, W) that touches slice `seed` of it."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    touching = np.unique(parts[seed])
    touching = touching[touching > 0]
    largest: Mask = parts == touching[np.argmax(sizes[touching])]
    return largest


def distinct(masks: Iterable[CutMask], *, max_iou: float) -> list[CutMask]:
    """Masks by falling score, without those that overlap a better one by more than `max_iou`.

    Equal scores keep their order. Masks whose sizes differ too much to overlap so are not looked
    at, so the time grows with the number of masks of like size.
    """
    kept: list[CutMask] = []
    sizes: list[int] = []
    for mask in sorted(masks, key=lambda m: -m.score):  # stable
        likely = np.flatnonzero(
            np.minimum(sizes, mask.voxels) > max_iou * np.maximum(sizes, mask.voxels)
        )
        if all(iou(mask, kept[index]) <= max_iou for index in likely):
            kept.append(mask)
            sizes.append(mask.voxels)
    return kept


def iou(a: CutMask, b: CutMask) -> float:
    """Overlap of two masks of one volume, in [0, 1]."""
    common = intersection(a.box, b.box)
    if not all(box_shape(common)):
        return 0.0
    shared = int((_within(a, common) & _within(b, common)).sum())
    return shared / (a.voxels + b.voxels - shared)


def _within(mask: CutMask, box: Box) -> Mask:
    """A mask inside a box that lies in its own."""
    inside: Mask = mask.mask[relative_to(box, mask.box)]
    return inside
