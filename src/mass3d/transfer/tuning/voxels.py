"""What a head knows of a voxel: intensities around it, the carried structures, a network's maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.filters import gradient
from mass3d.volume.box import box_around

FLOOR = 0.01  # least probability whose logarithm is shown
NEAR = 0.003  # smoothed prior from which on a voxel may belong to a structure
AROUND_VOX = 7  # how far the widest smoothing looks
FURTHER_VOX = (-3, -2, 2, 3)  # along each axis, beyond the 3^3 around


@dataclass(frozen=True)
class Encoder:
    """Feature maps of a pretrained network, if there are any."""

    encode: Callable[[Tensor], Tensor]  # image (D, H, W) -> (C, d, h, w) that cover all of it
    stride: int


@dataclass(frozen=True)
class Planes:
    """Maps of one view, from which voxels are gathered. S structures."""

    image: Tensor  # (D, H, W)
    smooth: Tensor  # (6, D, H, W): intensities at three scales and the sizes of their gradients
    log_prior: Tensor  # (3 (S + 1), D, H, W): background and structures at three scales
    near: Tensor  # (D, H, W) bool: where a structure may be
    maps: Tensor | None = None  # (C, d, h, w) of a network
    stride: int = 1  # of the maps
    first: int = 0  # voxels along D of what the maps show before this view


def planes_of(image: Tensor, prior: Tensor, encoder: Encoder | None = None) -> Planes:
    """Maps of an image (D, H, W) and the carried structures (S, D, H, W)."""
    log_prior, near = _prior_planes(prior)
    smooth = _image_planes(image)
    if encoder is None:
        return Planes(image, smooth, log_prior, near)
    return Planes(image, smooth, log_prior, near, encoder.encode(image), encoder.stride)


def gather(planes: Planes, index: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, C) and log priors (N, 3 (S + 1)) of N voxels by their flat index."""
    _, h, w = planes.image.shape
    z, y, x = index // (h * w), index // w % h, index % w
    r = max(FURTHER_VOX)
    padded = F.pad(planes.image[None, None], (r,) * 6, mode="replicate")[0, 0].flatten()
    strides = ((h + 2 * r) * (w + 2 * r), w + 2 * r, 1)
    middle = (z + r) * strides[0] + (y + r) * strides[1] + (x + r)
    columns = [padded[middle[:, None] + _offsets(strides)], planes.smooth.flatten(1)[:, index].T]
    if planes.maps is not None:
        s = planes.stride
        z = z + planes.first
        columns.append(planes.maps[:, z // s, y // s, x // s].T.float())
        columns.append(torch.stack([z % s, y % s, x % s], 1).float())
    return torch.cat(columns, 1), planes.log_prior.flatten(1)[:, index].T


def _offsets(strides: tuple[int, int, int]) -> Tensor:
    """Flat distances of the 3^3 around a voxel, then of those further along the axes."""
    span = (-1, 0, 1)
    cube = [a * strides[0] + b * strides[1] + c for a in span for b in span for c in span]
    return torch.tensor(cube + [s * stride for stride in strides for s in FURTHER_VOX])


def _image_planes(image: Tensor) -> Tensor:
    scales = torch.cat(_three_scales(image[None]))
    slopes = sum((slope * slope for slope in gradient(scales)), torch.zeros(()))
    return torch.cat([scales, 2 * slopes.sqrt()])


def _prior_planes(prior: Tensor) -> tuple[Tensor, Tensor]:
    """Log priors at three scales, (3 (S + 1), D, H, W), and where a structure may be.

    Each structure is smoothed in its own box and as far around it as smoothing reaches: beyond,
    its prior is 0.
    """
    background = (1 - prior.sum(0)).clamp_min(0)
    logs = torch.full((3, len(prior) + 1, *background.shape), FLOOR).log_()
    near = torch.zeros_like(background)
    for number, one in enumerate([background, *prior]):
        box = box_around(one, AROUND_VOX)
        if box is None:
            continue
        scales = torch.cat(_three_scales(one[box][None]))
        logs[(slice(None), number, *box)] = torch.log(scales + FLOOR)
        if number:
            near[box] += scales[-1]
    return logs.flatten(0, 1), near > NEAR


def _three_scales(x: Tensor) -> list[Tensor]:
    """(C, D, H, W) smoothed to three scales."""
    fine = smoothed(x)
    middle = smoothed(smoothed(fine))
    return [fine, middle, smoothed(smoothed(middle, 2), 2)]


def smoothed(x: Tensor, step: int = 1) -> Tensor:
    """Mean over {-step, 0, step} along each axis of (C, D, H, W); edges repeat."""
    for axis in (1, 2, 3):
        n = x.shape[axis]
        shift = min(step, n)
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
        total = torch.empty_like(x)
        total.narrow(axis, 0, shift).copy_(first)
        total.narrow(axis, shift, n - shift).copy_(x.narrow(axis, 0, n - shift))
        total += x
        total.narrow(axis, 0, n - shift).add_(x.narrow(axis, shift, n - shift))
        total.narrow(axis, n - shift, shift).add_(last)
        x = total.mul_(1 / 3)
    return x
