"""Means over neighbourhoods of feature maps (C, D, H, W); edges repeat unless said otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def box_mean(x: Tensor, times: int = 1) -> Tensor:
    """Mean over 3^3 cells, `times` times over, by three short sums."""
    for _ in range(times):
        for axis in (1, 2, 3):
            n = x.shape[axis]
            padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, n - 1, 1)], axis)
            x = padded.narrow(axis, 0, n) + padded.narrow(axis, 1, n)
            x.add_(padded.narrow(axis, 2, n))
        x.mul_(1 / 27)
    return x


def wide_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over the (2 radius + 1)^3 cells around that are in the map, by running sums."""
    for axis in (1, 2, 3):
        n = x.shape[axis]
        first = (torch.arange(n) - radius).clamp_min(0)
        last = (torch.arange(n) + radius + 1).clamp_max(n)
        total = F.pad(x.cumsum(axis), [0, 0] * (3 - axis) + [1, 0])
        count = (last - first).float().reshape([n if a == axis else 1 for a in range(4)])
        x = (total.index_select(axis, last) - total.index_select(axis, first)) / count
    return x


def local_contrast(x: Tensor, radius: int = 4) -> Tensor:
    """(x - local mean) / local deviation over (2 radius + 1)^3 cells."""
    mean = wide_mean(x, radius)
    variance = wide_mean(x * x, radius) - mean * mean
    return (x - mean) / variance.clamp_min(0.02).sqrt()


def halve(x: Tensor) -> Tensor:
    """Mean of every 2^3 cells; an odd last slice is repeated."""
    pad = [v for n in reversed(x.shape[1:]) for v in (0, n % 2)]
    return F.avg_pool3d(F.pad(x[None], pad, mode="replicate"), 2)[0]


def gradient(x: Tensor) -> list[Tensor]:
    """Central differences along D, H and W, per cell; each (C, D, H, W)."""
    found = []
    for axis in (1, 2, 3):
        n = x.shape[axis]
        padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, n - 1, 1)], axis)
        found.append((padded.narrow(axis, 2, n) - padded.narrow(axis, 0, n)) / 2)
    return found
