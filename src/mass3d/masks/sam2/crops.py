"""Where SAM2 is asked: crops of a slice, prompts on a grid, boxes that say the same. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.integer[Any]]  # (N, 4), half-open (top, bottom, left, right)


@dataclass(frozen=True)
class Crop:
    """A rectangle of a slice, half-open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """Pixels inside."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the crop into its slice."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def crops_of(shape: tuple[int, int], *, layers: int, overlap: float) -> list[Crop]:
    """The whole slice, then 2^n x 2^n crops for each layer n (Kirillov et al. 2023, appendix).

    Those of layer 1 overlap by `overlap` of the short side, each further layer by half as much.
    """
    height, width = shape
    found = [Crop(0, height, 0, width)]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(shape) * 2 / count)
        tall, wide = (math.ceil((shared * (count - 1) + n) / count) for n in shape)
        for left in ((wide - shared) * i for i in range(count)):
            for top in ((tall - shared) * i for i in range(count)):
                crop = Crop(top, min(top + tall, height), left, min(left + wide, width))
                if crop.height > 0 and crop.width > 0:  # a slice of few pixels has fewer crops
                    found.append(crop)
    return list(dict.fromkeys(found))


def point_grid(per_side: int) -> NDArray[np.float64]:
    """The middles of per_side x per_side equal squares of a unit square, (N, 2) as (x, y)."""
    middles = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def cut_off(boxes: Boxes, crop: Crop, shape: tuple[int, int], *, edge: float) -> NDArray[np.bool_]:
    """(N,) boxes, in pixels of the slice, that end at an edge of the crop inside the slice.

    `edge` is a share of the crop's sides; ending within it of the crop's edge is ending there.
    """
    near = np.zeros(len(boxes), bool)
    ends = (
        (0, crop.top, 0, crop.height),
        (1, crop.bottom, shape[0], crop.height),
        (2, crop.left, 0, crop.width),
        (3, crop.right, shape[1], crop.width),
    )
    for side, of_crop, of_slice, length in ends:
        at_crop = np.abs(boxes[:, side] - of_crop) <= edge * length
        at_slice = np.abs(boxes[:, side] - of_slice) <= edge * length
        near |= at_crop & ~at_slice
    return near


def suppress(
    boxes: Boxes, order: NDArray[np.integer[Any]] | Sequence[int], *, max_iou: float
) -> NDArray[np.int64]:
    """Rows of `order` that stay: each is dropped if its box overlaps an earlier one that stays.

    The greedy non-maximum suppression. Time grows with kept times given, memory with given.
    """
    waiting = np.asarray(order, dtype=np.int64)
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[box_iou(boxes[best], boxes[waiting]) <= max_iou]
    return np.array(kept, dtype=np.int64)


def box_iou(box: Boxes, boxes: Boxes) -> NDArray[np.float64]:
    """IoU of one box (4,) with others (N, 4)."""
    tall = np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0])
    wide = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[2], boxes[:, 2])
    shared = np.clip(tall, 0, None) * np.clip(wide, 0, None)
    total = _area(box[np.newaxis]) + _area(boxes) - shared
    iou: NDArray[np.float64] = shared / np.maximum(total, 1)
    return iou


def _area(boxes: Boxes) -> Boxes:
    area: Boxes = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    return area
