"""All masks of one slice: SAM2 is asked on grids of points, its stable answers are kept.

The automatic mask generator of Kirillov et al. 2023 with SAM2 for SAM, and three changes: masks
outside the body are dropped before they can suppress others, stability is measured on the masks
as the model gives them, and the best masks stay where there are too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mass3d.masks.packing import CutMask
from mass3d.masks.sam2.crops import Crop, crops_of, cut_off, point_grid, suppress
from mass3d.masks.sam2.network import Decoded, Network
from mass3d.masks.sam2.regions import without_small_parts
from mass3d.masks.sam2.settings import Sam2Config, Sam2Profile

Mask = NDArray[np.bool_]
STABLE_BY = 1.0  # logits that the threshold is moved by, up and down


@dataclass(frozen=True, eq=False)
class SliceMask:
    """A mask of a slice, cut to its box."""

    box: tuple[int, int, int, int]  # half-open (top, bottom, left, right)
    mask: Mask  # of the box
    score: float  # IoU that the model predicts
    crop_px: int  # of the crop that it was found in

    def whole(self, shape: tuple[int, int]) -> Mask:
        """The mask of the whole slice (H, W)."""
        top, bottom, left, right = self.box
        whole = np.zeros(shape, bool)
        whole[top:bottom, left:right] = self.mask
        return whole

    def on(self, index: int) -> CutMask:
        """The mask as a part of the volume, one slice thick."""
        top, bottom, left, right = self.box
        box = slice(index, index + 1), slice(top, bottom), slice(left, right)
        return CutMask(box, self.mask[np.newaxis], int(self.mask.sum()), self.score)


def automatic_masks(
    network: Network,
    colours: NDArray[np.uint8],
    *,
    body: Mask,
    pixel_mm2: float,
    profile: Sam2Profile,
    config: Sam2Config,
) -> list[SliceMask]:
    """Masks of a slice (H, W, 3) within its body (H, W), best first."""
    shape = body.shape[0], body.shape[1]
    found: list[SliceMask] = []
    for crop in crops_of(shape, layers=config.crop_layers, overlap=config.crop_overlap):
        if not body[crop.slices].any():
            continue
        masks = list(
            _masks_of_crop(network, colours, crop, body=body, profile=profile, config=config)
        )
        found += _apart(masks, [-mask.score for mask in masks], config.max_box_iou)
    # of two that say the same, the one from the smaller crop saw more
    found = _apart(found, [(m.crop_px, -m.score) for m in found], config.max_box_iou)
    tidy = [_tidied(mask, profile.min_mm2 / pixel_mm2, shape) for mask in found]
    changed = [new is not old for new, old in zip(tidy, found, strict=True)]
    order = [(was, -mask.score) for was, mask in zip(changed, tidy, strict=True)]
    tidy = _apart(tidy, order, config.max_box_iou)
    return sorted(tidy, key=lambda mask: -mask.score)[: config.max_masks_per_slice]


def _apart(masks: list[SliceMask], keys: list[Any], max_iou: float) -> list[SliceMask]:
    """Masks by rising key, without those whose boxes overlap an earlier one too much."""
    order = sorted(range(len(masks)), key=keys.__getitem__)  # stable
    boxes = np.array([mask.box for mask in masks], np.int64).reshape(-1, 4)
    return [masks[row] for row in suppress(boxes, order, max_iou=max_iou)]


def _masks_of_crop(
    network: Network,
    colours: NDArray[np.uint8],
    crop: Crop,
    *,
    body: Mask,
    profile: Sam2Profile,
    config: Sam2Config,
) -> Iterator[SliceMask]:
    """Masks that a crop shows whole, that the model believes in and that lie in the body."""
    features = network.embed(colours[crop.slices])
    points = point_grid(config.points_per_side)
    for start in range(0, len(points), config.points_per_batch):
        decoded = network.decode(features, points[start : start + config.points_per_batch])
        masks, scores = believed(decoded, profile, (crop.height, crop.width))
        boxes = mask_boxes(masks) + np.array([crop.top, crop.top, crop.left, crop.left])
        cut = cut_off(boxes, crop, body.shape, edge=config.crop_edge)
        for row in np.flatnonzero(~cut):
            top, bottom, left, right = (int(edge) for edge in boxes[row])
            mask = masks[row][
                top - crop.top : bottom - crop.top, left - crop.left : right - crop.left
            ]
            if body[top:bottom, left:right][mask].mean() >= config.min_in_body:
                box = (top, bottom, left, right)
                yield SliceMask(box, mask.copy(), float(scores[row]), crop.area)


def believed(
    decoded: Decoded, profile: Sam2Profile, shape: tuple[int, int]
) -> tuple[Mask, NDArray[np.float32]]:
    """The masks (N, *shape) that pass the model's quality and stability, and their quality (N,).

    Only those are brought to the size of the picture. Empty ones are left out.
    """
    quality, logits = decoded.quality.flatten(), decoded.logits.flatten(0, 1)
    logits, quality = (part[quality >= profile.min_predicted_iou] for part in (logits, quality))
    stable = stability(logits) >= profile.min_stability
    logits, quality = logits[stable], quality[stable]
    masks = enlarged(logits, shape)
    present = masks.flatten(1).any(1)
    return as_array(masks[present]), quality[present].cpu().numpy()


def as_array(masks: Tensor) -> Mask:
    """Masks on any device as an array."""
    array: Mask = masks.cpu().numpy()
    return array


def stability(logits: Tensor) -> Tensor:
    """(N,) IoU of each mask (N, h, w) cut at logits above and below 0; 0 for an empty mask."""
    inner = (logits > STABLE_BY).flatten(1).sum(1)
    outer = (logits > -STABLE_BY).flatten(1).sum(1)
    return inner / outer.clamp(min=1)


def enlarged(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Masks (N, *shape) where the logits (N, h, w), interpolated, are above 0."""
    if not len(logits):
        return torch.zeros((0, *shape), dtype=torch.bool, device=logits.device)
    return F.interpolate(logits[:, None], size=shape, mode="bilinear")[:, 0] > 0


def mask_boxes(masks: Mask) -> NDArray[np.int64]:
    """Half-open boxes (N, 4) as (top, bottom, left, right) of masks (N, H, W), none empty."""
    ends = []
    for other in (2, 1):  # rows are left when columns are put together, and the reverse
        lines: Mask = np.logical_or.reduce(masks, axis=other)
        ends += [lines.argmax(axis=1), lines.shape[1] - lines[:, ::-1].argmax(axis=1)]
    return np.stack(ends, axis=1).astype(np.int64)


def _tidied(mask: SliceMask, least_px: float, shape: tuple[int, int]) -> SliceMask:
    """The mask without small holes and islands; the very same object if it has none."""
    tidy = without_small_parts(mask.whole(shape), least_px)
    top, bottom, left, right = (int(edge) for edge in mask_boxes(tidy[np.newaxis])[0])
    inside = tidy[top:bottom, left:right]
    if np.array_equal(inside, mask.mask):
        return mask
    return SliceMask((top, bottom, left, right), inside.copy(), mask.score, mask.crop_px)
