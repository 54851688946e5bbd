"""One warp for image and rank maps: sample both on the same batched grid, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mass3d.views.draw import Warp
from mass3d.volume.box import Box, box_at

Crop = tuple[int, int, int]


def source_box(warp: Warp, crop: Crop, shape: tuple[int, int, int]) -> Box:
    """The smallest box of a scan that a warped crop can touch, clipped to the scan.

    At least one voxel per axis is returned even when the crop lies outside.
    """
    half = (np.array(crop) - 1) / 2
    reach = np.abs(warp.matrix) @ half + 1
    if warp.bend is not None:
        reach = reach + np.abs(warp.bend).reshape(3, -1).max(axis=1)
    first = np.clip(np.floor(warp.centre - reach), 0, np.array(shape) - 1).astype(int)
    stop = np.clip(np.ceil(warp.centre + reach) + 1, first + 1, np.array(shape)).astype(int)
    return box_at(first.tolist(), (stop - first).tolist())


def sample_grid(
    warps: Sequence[Warp], boxes: Sequence[Box], crop: Crop, padded: Crop, device: torch.device
) -> Tensor:
    """Normalised `grid_sample` coordinates (B, D, H, W, 3) into blocks padded to `padded`.

    Coordinates are voxel centres (`align_corners=False`); the last axis is (W, H, D) as torch
    wants it.
    """
    axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in crop]
    size = np.array(padded, np.float64)
    grids = []
    for warp, box in zip(warps, boxes, strict=True):
        # coordinates x become (2 x + 1) / size - 1: a linear change, applied to the matrix instead
        start = np.array([axis.start for axis in box])
        centre = (2 * (warp.centre - start) + 1) / size - 1
        origin, matrix = _flipped(centre, device), _flipped(2 * warp.matrix / size[:, None], device)
        d, h, w = (x[:, None] * matrix[:, axis] for axis, x in enumerate(axes))
        grid = d[:, None, None] + (h[:, None] + (w + origin))
        if warp.bend is not None:
            bend = _flipped(2 * warp.bend / size.reshape(3, 1, 1, 1), device).unsqueeze(0)
            smooth = F.interpolate(bend, size=crop, mode="trilinear", align_corners=True)
            grid += smooth[0].permute(1, 2, 3, 0)
        grids.append(grid)
    return torch.stack(grids)


def _flipped(values: NDArray[np.floating[Any]], device: torch.device) -> Tensor:
    """Rows in the order (W, H, D) that torch's grids have."""
    return torch.tensor(values[::-1].copy(), device=device, dtype=torch.float32)


def stack_padded(blocks: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Blocks (C, d, h, w) of different sizes -> (B, C, D, H, W) on the device, padded with 0.

    Whole numbers and half floats cross to the device as they are, and become float32 there.
    """
    largest = np.max([block.shape for block in blocks], axis=0)
    out = np.zeros((len(blocks), *largest), np.result_type(*blocks))
    for row, block in zip(out, blocks, strict=True):
        c, d, h, w = block.shape
        row[:c, :d, :h, :w] = block
    return torch.from_numpy(out).to(device).float()


def subtract_fill(images: Tensor, boxes: Sequence[Box], fill: Sequence[float]) -> Tensor:
    """Padded blocks (B, 1, D, H, W) minus the fill value of each, in place; padding stays 0.

    Makes the zero padding of `grid_sample` mean "outside the scan" everywhere; the caller adds
    the fill value again.
    """
    for image, box, value in zip(images, boxes, fill, strict=True):
        d, h, w = (axis.stop - axis.start for axis in box)
        image[:, :d, :h, :w] -= value
    return images


def warp_images(images: Tensor, grid: Tensor, fill: Tensor) -> Tensor:
    """Linear sampling of padded blocks (B, 1, d, h, w) minus `fill` (B,): (B, 1, D, H, W)."""
    sampled = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    return sampled.add_(fill.view(-1, 1, 1, 1, 1))


def warp_ranks(ranks: Tensor, grid: Tensor) -> Tensor:
    """Nearest sampling of rank maps (B, L, d, h, w) -> int32 (B, L, D, H, W); 0 is outside.

    Ranks pass through float32, which is exact up to 2^24 atoms.
    """
    return F.grid_sample(ranks, grid, mode="nearest", align_corners=False).int()
