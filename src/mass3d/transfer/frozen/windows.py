"""Windows on whole cells of a scan, with weights that share every voxel out among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mass3d.transfer.sliding import window_starts
from mass3d.volume.box import Box, box_at


@dataclass(frozen=True)
class Window:
    """A part of a scan that is shown at once."""

    box: Box  # voxels
    weight: Tensor  # (D, H, W) of the window; over all windows a voxel's weights sum to one


def axis_windows(
    size: int, window: int, *, stride: int, overlap: float
) -> list[tuple[int, Tensor]]:
    """Starts of windows along an axis of `size` voxels, and the weights (window,) of each.

    Starts are multiples of `stride`, as the window is; together they cover `size` rounded up to
    such a multiple, or one window. Weights are Gaussian, as those of `sliding.blend_weight`.
    """
    cells, wide = -(-size // stride), window // stride
    starts = [start * stride for start in window_starts(cells, wide, overlap=overlap)]
    profile = torch.exp(-0.5 * ((torch.arange(window) - (window - 1) / 2) / (window / 8)) ** 2)
    profile = profile.clamp_min(1e-3).double()
    total = torch.zeros(max(cells, wide) * stride, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += profile
    return [(start, (profile / total[start : start + window]).float()) for start in starts]


def weighted_windows(
    shape: tuple[int, int, int],
    window: tuple[int, int, int],
    *,
    stride: int,
    overlap: float,
) -> Iterator[Window]:
    """All windows of a scan of this shape, which is to be padded at its ends to `padded_shape`."""
    d, h, w = (
        axis_windows(n, edge, stride=stride, overlap=overlap)
        for n, edge in zip(shape, window, strict=True)
    )
    for at_d, of_d in d:
        for at_h, of_h in h:
            for at_w, of_w in w:
                weight = of_d[:, None, None] * of_h[:, None] * of_w
                yield Window(box_at((at_d, at_h, at_w), window), weight)


def padded_shape(
    shape: tuple[int, int, int], window: tuple[int, int, int], *, stride: int
) -> tuple[int, int, int]:
    """The smallest whole cells around a scan that hold a window."""
    d, h, w = (max(edge, -(-n // stride) * stride) for n, edge in zip(shape, window, strict=True))
    return d, h, w
