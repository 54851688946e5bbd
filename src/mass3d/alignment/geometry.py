"""Cells, points and affine maps. Coordinates are voxels of the whole scan, axes (D, H, W).

Cell i of a map with `stride` and `origin` covers the voxels origin + [i stride, (i + 1) stride).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cell_centres(shape: Sequence[int], stride: int, origin: Sequence[int]) -> Tensor:
    """Centres of the cells of a map, in voxels: (d, h, w, 3)."""
    axes = [
        start + stride * torch.arange(n, dtype=torch.float32) + (stride - 1) / 2
        for n, start in zip(shape, origin, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def apply_affine(affine: Tensor, points: Tensor) -> Tensor:
    """The affine map (3, 4) at points (..., 3)."""
    return points @ affine[:, :3].T + affine[:, 3]


def sampled(volume: Tensor, points: Tensor, stride: int, origin: Sequence[int]) -> Tensor:
    """Linear interpolation of a map (C, d, h, w) at points (..., 3) in voxels; edges repeat.

    points (d', h', w', 3) -> (C, d', h', w').
    """
    size = stride * torch.tensor(volume.shape[1:], dtype=torch.float32)
    return sampled_at(volume, unit_points(points, size, origin))


def sampled_at(volume: Tensor, unit: Tensor) -> Tensor:
    """Linear interpolation of (C, d, h, w) at points of `unit_points`; edges repeat."""
    return F.grid_sample(
        volume[None], unit[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def unit_points(points: Tensor, size: Tensor, origin: Sequence[int]) -> Tensor:
    """Points in voxels as torch's sampler wants them: W first, -1 to 1 over a box of `size`."""
    start = torch.tensor(origin, dtype=torch.float32)
    return ((points - start + 0.5) * (2 / size) - 1).flip(-1)


def within(points: Tensor, shape: Sequence[int], origin: Sequence[int]) -> Tensor:
    """1 where a point (..., 3) lies in the box of voxels, else 0: (...)."""
    start = torch.tensor(origin, dtype=torch.float32) - 0.5
    end = start + torch.tensor(shape, dtype=torch.float32)
    return ((points > start) & (points < end)).all(-1).float()


def composed(affine: Tensor, delta: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """The map x -> A (x + delta [(x - centre) / size, 1]) + t of A, t = affine; all (3, 4)."""
    linear = torch.eye(3) + delta[:, :3] / size
    shift = delta[:, 3] - delta[:, :3] @ centre / size
    out = torch.empty(3, 4)
    out[:, :3] = affine[:, :3] @ linear
    out[:, 3] = affine[:, :3] @ shift + affine[:, 3]
    return out
