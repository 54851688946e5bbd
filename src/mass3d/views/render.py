"""One view of each scan of a batch: image and rank maps, moved by one warp, on any device.

A view knows nothing of pairs: single views, pairs and labelled views are made of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.masks.table import MaskTable
from mass3d.views.draw import Intensity, Warp
from mass3d.views.intensity import apply_intensity
from mass3d.views.warp import (
    Crop,
    sample_grid,
    source_box,
    stack_padded,
    subtract_fill,
    warp_images,
    warp_ranks,
)
from mass3d.volume.box import Box


class Case(Protocol):
    """What a view needs of a scan: a stored case, or any other that can do this."""

    @property
    def shape(self) -> Crop:
        """Voxels along (D, H, W)."""
        ...

    @property
    def outside(self) -> float:
        """The value of what lies outside of the scan."""
        ...

    def read_stored_image(self, box: Box) -> NDArray[np.floating[Any]]:
        """What lies in a box of the scan, (d, h, w)."""
        ...

    def read_layers(self, box: Box) -> NDArray[np.integer[Any]]:
        """Integer maps (L, d, h, w) to be moved with the image: ranks, or labels; 0 is nothing."""
        ...


class Rendered(NamedTuple):
    """One view per scan."""

    images: Tensor  # (B, 1, D, H, W) float32, unitless
    ranks: Tensor  # (B, L, D, H, W) int32; layers that a scan lacks are 0


def render_view(
    cases: Sequence[Case],
    warps: Sequence[Warp],
    intensities: Sequence[Intensity],
    *,
    crop: Crop,
    device: torch.device,
) -> Rendered:
    """Read what each warp reaches of its scan, move it, and change its intensities."""
    read = _read(cases, warps, crop, device)
    layers = [case.read_layers(box) for case, box in zip(cases, read.boxes, strict=True)]
    ranks = warp_ranks(stack_padded(layers, device), read.grid)
    return Rendered(apply_intensity(_moved(cases, read), intensities), ranks)


def render_image(
    cases: Sequence[Case],
    warps: Sequence[Warp],
    intensities: Sequence[Intensity],
    *,
    crop: Crop,
    device: torch.device,
) -> Tensor:
    """The images (B, 1, D, H, W) of `render_view` alone: no layer is read."""
    return apply_intensity(_moved(cases, _read(cases, warps, crop, device)), intensities)


class _Read(NamedTuple):
    """What warps reach of their scans, and where each voxel of the views lies in it."""

    boxes: list[Box]
    images: Tensor  # (B, 1, d, h, w), padded
    grid: Tensor  # (B, D, H, W, 3), as `sample_grid` gives it


def _read(cases: Sequence[Case], warps: Sequence[Warp], crop: Crop, device: torch.device) -> _Read:
    boxes = [source_box(warp, crop, case.shape) for warp, case in zip(warps, cases, strict=True)]
    read = [case.read_stored_image(box)[None] for case, box in zip(cases, boxes, strict=True)]
    images = stack_padded(read, device)
    d, h, w = images.shape[2:]
    return _Read(boxes, images, sample_grid(warps, boxes, crop, (d, h, w), device))


def _moved(cases: Sequence[Case], read: _Read) -> Tensor:
    """The images (B, 1, D, H, W) of views, before their intensities are changed."""
    fill = [case.outside for case in cases]
    outside = torch.tensor(fill, device=read.images.device, dtype=torch.float32)
    return warp_images(subtract_fill(read.images, read.boxes, fill), read.grid, outside)


def count_visible(ranks: Tensor, tables: Sequence[MaskTable]) -> list[NDArray[np.int64]]:
    """Voxels of every mask in each view: one histogram for all, one subtraction per mask.

    ranks (B, L, D, H, W), table of each view -> (N,) per view. The device is waited for once.
    """
    limits = [_highest_ranks(table, ranks.shape[1]) for table in tables]
    sizes = np.array(limits) + 2  # 0, the ranks, and one bin for what no mask knows
    starts = np.concatenate([[0], sizes.ravel().cumsum()])
    first = torch.from_numpy(starts[:-1].reshape(sizes.shape)).to(ranks.device)
    highest = torch.from_numpy(sizes - 1).to(ranks.device)
    spread = (1, 1, 1)
    bins = torch.minimum(ranks, highest.view(*sizes.shape, *spread).to(ranks.dtype))
    bins = bins + first.view(*sizes.shape, *spread).to(ranks.dtype)
    counts = torch.bincount(bins.flatten(), minlength=int(starts[-1])).cpu().numpy()
    up_to = np.concatenate([[0], counts.cumsum()])
    found = []
    for view, table in enumerate(tables):
        begin = starts[view * ranks.shape[1] + table.layer.astype(np.int64)]
        last, before = table.last.astype(np.int64), table.first.astype(np.int64)
        found.append(up_to[begin + last + 1] - up_to[begin + before])
    return found


def _highest_ranks(table: MaskTable, layers: int) -> NDArray[np.int64]:
    """(L,) the highest rank of any mask of each layer; 0 where there is none."""
    highest = np.zeros(layers, np.int64)
    np.maximum.at(highest, table.layer.astype(np.int64), table.last.astype(np.int64))
    return highest


def render_masks(
    ranks: Tensor, tables: Sequence[MaskTable], rows: Sequence[NDArray[np.int64]], num_masks: int
) -> Tensor:
    """Rank maps (B, L, D, H, W) and rows of the tables -> masks (B, K, D, H, W), bool.

    Views of which fewer than K rows are wanted end with empty masks.
    """
    masks = ranks.new_zeros((len(rows), num_masks, *ranks.shape[2:]), dtype=torch.bool)
    for b, (table, wanted) in enumerate(zip(tables, rows, strict=True)):
        for k, row in enumerate(wanted):
            rank_map = ranks[b, int(table.layer[row])]
            torch.ge(rank_map, int(table.first[row]), out=masks[b, k])
            masks[b, k] &= rank_map <= int(table.last[row])
    return masks
