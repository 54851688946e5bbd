"""Masked convolutions: what is hidden from a trunk is nothing to it, at every scale.

Without them the border of what is hidden would be blurred further with every convolution, and the
norms would see how much is hidden (SparK: Tian et al. 2023, "Designing BERT for convolutional
networks").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import ResidualBlock
from mass3d.model.trunk import Trunk, fold


def masked_maps(trunk: Trunk, image: Tensor, keep: Tensor) -> list[Tensor]:
    """`trunk.descend` of what is kept of an image; cells that are hidden are zero in every map.

    image (B, 1, D, H, W); keep (B, 1, d, h, w) in {0, 1}, of the cells at the trunk's stride, at
    least one of which is kept in each sample.
    """
    scales = keep_at_scales(keep, len(trunk.channels))
    upper = cast("Sequence[ResidualBlock]", trunk.down_blocks)
    x = trunk.stem(fold(image * spread(keep, trunk.stride))) * scales[0]
    maps = []
    for block, down, (here, below) in zip(upper, trunk.down, pairwise(scales), strict=True):
        maps.append(masked_block(block, x, here))
        x = down(maps[-1]) * below
    for block in cast("Sequence[ResidualBlock]", trunk.deep):
        x = masked_block(block, x, scales[-1])
    return [*maps, x]


def keep_at_scales(keep: Tensor, number: int) -> list[Tensor]:
    """keep (B, 1, d, h, w) of the coarsest of so many scales -> of all, the finest first."""
    return [spread(keep, 2**power) for power in reversed(range(number))]


def spread(keep: Tensor, times: int) -> Tensor:
    """Every cell becomes a block of `times`³."""
    return F.interpolate(keep, scale_factor=times, mode="nearest") if times > 1 else keep


def masked_block(block: ResidualBlock, x: Tensor, keep: Tensor) -> Tensor:
    """A residual block without a stride on a map that is zero where keep (B, 1, ...) is."""
    assert block.stride == 1
    y = block.conv1(F.silu(masked_norm(block.norm1, x, keep)) * keep) * keep
    y = block.conv2(F.silu(masked_norm(block.norm2, y, keep)) * keep) * keep
    projected: Tensor = block.project(x)
    return y + projected


def masked_norm(norm: nn.GroupNorm, x: Tensor, keep: Tensor) -> Tensor:
    """Group norm by the mean and deviation of what is kept of x, which is zero elsewhere."""
    B, C = x.shape[:2]
    each = C // norm.num_groups  # channels of a group
    number = keep.sum((2, 3, 4)).view(B, 1) * each
    mean = _by_channel(_by_group(x.float().sum((2, 3, 4)), each) / number, each)
    centred = (x.float() - mean) * keep
    variance = _by_group(centred.square().sum((2, 3, 4)), each) / number
    weight, bias = (one.view(1, C, 1, 1, 1) for one in (norm.weight, norm.bias))
    return centred * _by_channel((variance + norm.eps).rsqrt(), each) * weight + bias


def _by_group(sums: Tensor, each: int) -> Tensor:
    """(B, C) -> (B, groups): sums over the channels of a group."""
    return sums.unflatten(1, (-1, each)).sum(2)


def _by_channel(values: Tensor, each: int) -> Tensor:
    """(B, groups) -> (B, C, 1, 1, 1)."""
    return values.repeat_interleave(each, 1)[..., None, None, None]
