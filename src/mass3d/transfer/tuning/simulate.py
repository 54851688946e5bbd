"""Made-up views of one labelled scan: anatomy, scanner, and the error of an alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.transfer.tuning.settings import SimulationConfig

NODES_OF_BIAS_VOX = 24.0
NODES_OF_ROUGH_VOX = 3.0
BLURRED = 0.25  # share of the views that are a little blurred


@dataclass(frozen=True)
class View:
    """A scan, what is true in it, and what an alignment might say. S structures."""

    image: Tensor  # (D, H, W)
    label: Tensor  # (D, H, W) int64: 0, or the number of the structure from 1
    prior: Tensor  # (S, D, H, W) in [0, 1]


def simulate_view(
    rng: np.random.Generator,
    image: Tensor,
    label: Tensor,
    structures: int,
    config: SimulationConfig,
) -> View:
    """Draw a view of a scan (D, H, W) and its label of the same shape."""
    d, h, w = image.shape
    shape = (d, h, w)
    size = float(np.exp(rng.normal(0, config.residual_spread)))
    bent = smooth_noise(rng, shape, config.anatomy_vox, config.anatomy_scale_vox)
    bent += affine_noise(rng, shape, config.degrees, config.scale, config.anatomy_vox / 2)
    # linear interpolation between the nodes takes a third of the deviation away
    residual, rough = 1.5 * config.residual_vox * size, 1.5 * config.rough_vox * size
    wrong = bent + smooth_noise(rng, shape, residual, config.residual_scale_vox)
    wrong += smooth_noise(rng, shape, rough, NODES_OF_ROUGH_VOX)
    wrong += affine_noise(rng, shape, 1.0, 0.01, 0.2 * config.residual_vox)
    masks = torch.stack([label == number for number in range(1, structures + 1)]).float()
    return View(
        other_scanner(rng, moved(image[None], bent)[0], config),
        moved(label[None].float(), bent, mode="nearest")[0].long(),
        moved(masks, wrong),
    )


def smooth_noise(
    rng: np.random.Generator,
    shape: Sequence[int],
    deviation: float,
    nodes_vox: float,
    channels: int = 3,
) -> Tensor:
    """Normal numbers on a grid of nodes, linearly interpolated: (channels, D, H, W)."""
    nodes = [math.ceil((n - 1) / nodes_vox) + 2 for n in shape]
    draws = rng.standard_normal((channels, *nodes)).astype(np.float32)
    noise = torch.from_numpy(draws) * deviation
    for axis, n in enumerate(shape, 1):
        count = noise.shape[axis]
        last = round((count - 1) * nodes_vox)  # the voxel of the last node
        phase = int(rng.integers(0, last - n + 2))
        place = (torch.arange(n) + phase) * ((count - 1) / last)
        low = place.floor().long().clamp(0, count - 2)
        share = (place - low).view([-1 if a == axis else 1 for a in range(4)])
        noise = (
            noise.index_select(axis, low) * (1 - share) + noise.index_select(axis, low + 1) * share
        )
    return noise


def affine_noise(
    rng: np.random.Generator, shape: Sequence[int], degrees: float, scale: float, shift_vox: float
) -> Tensor:
    """Displacements (3, D, H, W) of a turn, stretch, shear and shift about the middle."""
    a = np.deg2rad(rng.normal(0, degrees / 2, 3))
    turn = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    linear = turn + np.diag(rng.normal(0, scale, 3)) + rng.normal(0, scale / 4, (3, 3))
    matrix = torch.from_numpy(linear.astype(np.float32))
    shift = torch.from_numpy(rng.normal(0, shift_vox, 3).astype(np.float32))
    d, h, w = (torch.arange(n) - (n - 1) / 2 for n in shape)
    return torch.stack(
        [
            row[0] * d[:, None, None] + row[1] * h[:, None] + (row[2] * w + offset)
            for row, offset in zip(matrix, shift, strict=True)
        ]
    )


def moved(x: Tensor, displacement: Tensor, *, mode: str = "bilinear") -> Tensor:
    """x (C, D, H, W) at each voxel + displacement (3, D, H, W); edges repeat."""
    parts = []
    for axis, n in enumerate(x.shape[1:]):
        place = torch.arange(n).view([-1 if a == axis else 1 for a in range(3)])
        parts.append((2 * (place + displacement[axis]) + 1) / n - 1)
    grid = torch.stack(parts[::-1], -1)[None]
    return F.grid_sample(x[None], grid, mode=mode, align_corners=False, padding_mode="border")[0]


def other_scanner(rng: np.random.Generator, image: Tensor, config: SimulationConfig) -> Tensor:
    """Another exponent, contrast, brightness, shading, sharpness and noise of (D, H, W)."""
    low, high = image.min(), image.max()
    power = float(np.exp(rng.normal(0, config.gamma)))
    span = (high - low).clamp_min(1e-6)
    out = ((image - low) / span) ** power * span + low
    out = out * float(np.exp(rng.normal(0, config.gain))) + float(rng.normal(0, config.offset))
    out = out * (1 + smooth_noise(rng, image.shape, config.bias, NODES_OF_BIAS_VOX, 1)[0])
    if rng.uniform() < BLURRED:
        weight = float(rng.uniform(0.05, 0.2))
        for axis in range(3):
            out = (1 - 2 * weight) * out + weight * (out.roll(1, axis) + out.roll(-1, axis))
    noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
    return out + torch.from_numpy(noise) * (config.noise * float(rng.uniform(0, 1.5)))
