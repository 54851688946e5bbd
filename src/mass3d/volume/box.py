"""Boxes of voxels: three half-open slices along (D, H, W), the one definition for all rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mass3d.volume.geometry import Shape

Box = tuple[slice, slice, slice]


def box_at(start: Sequence[int], shape: Sequence[int]) -> Box:
    """The box of `shape` whose first voxel is `start`."""
    d, h, w = (slice(a, a + n) for a, n in zip(start, shape, strict=True))
    return d, h, w


def whole_box(shape: Sequence[int]) -> Box:
    """The box of all voxels of a volume."""
    return box_at((0, 0, 0), shape)


def box_shape(box: Box) -> Shape:
    """Voxels along each axis; 0 where the box is empty."""
    d, h, w = (max(0, axis.stop - axis.start) for axis in box)
    return d, h, w


def shifted(box: Box, by: Sequence[int]) -> Box:
    """The box, moved by whole voxels."""
    d, h, w = (slice(axis.start + n, axis.stop + n) for axis, n in zip(box, by, strict=True))
    return d, h, w


def relative_to(box: Box, around: Box) -> Box:
    """A box in the indices of one around it."""
    return shifted(box, [-axis.start for axis in around])


def intersection(one: Box, other: Box) -> Box:
    """What two boxes share; an axis without a voxel (stop <= start) means nothing."""
    d, h, w = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return d, h, w


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of at least one."""
    d, h, w = (
        slice(min(axis.start for axis in axes), max(axis.stop for axis in axes))
        for axes in zip(*boxes, strict=True)
    )
    return d, h, w


def widened(box: Box, margin: int | Sequence[int], shape: Sequence[int]) -> Box:
    """The box and a margin around it, of all axes or of each, within a volume."""
    margins = (margin,) * len(box) if isinstance(margin, int) else margin
    d, h, w = (slice(a.start - m, a.stop + m) for a, m in zip(box, margins, strict=True))
    return intersection((d, h, w), whole_box(shape))


def box_around(shown: Any, margin: int = 0) -> Box | None:
    """The box of what is not 0 or False, and a margin within the volume; None where all is.

    shown (D, H, W): an array, or a tensor on the CPU.
    """
    plane, last = shown.any(2), shown.any(0).any(0)
    axes = [np.flatnonzero(np.asarray(seen)) for seen in (plane.any(1), plane.any(0), last)]
    if any(len(places) == 0 for places in axes):
        return None
    d, h, w = (slice(int(places[0]), int(places[-1]) + 1) for places in axes)
    return widened((d, h, w), margin, shown.shape)
