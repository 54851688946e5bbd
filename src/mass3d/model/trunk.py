"""A U-Net that never computes at full resolution: voxels are folded into channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import ResidualBlock, norm

FOLD = 2  # voxels per cell of the finest map, along every axis


class Trunk(nn.Module):
    """(B, 1, D, H, W) -> (B, C, D/2, H/2, W/2), where every cell knows the whole view.

    `channels` are the widths at strides 2, 4, 8, ...; the coarsest holds `deep` residual blocks,
    the others one on the way down and one on the way up. Skips are added, and a change of
    stride is a 2³ convolution: nearly all of the work is 3³ convolutions, which bfloat16 speeds up.
    """

    encoder_parts = ("stem", "down", "deep")

    def __init__(self, channels: Sequence[int], *, deep: int) -> None:
        super().__init__()
        *upper, lowest = channels
        self.channels, self.width = tuple(channels), channels[0]
        self.stride = FOLD ** len(channels)
        self.stem = nn.Conv3d(FOLD**3, channels[0], 3, 1, 1)
        self.down_blocks = nn.ModuleList(ResidualBlock(width, width) for width in upper)
        self.down = nn.ModuleList(
            nn.Conv3d(above, below, 2, 2) for above, below in pairwise(channels)
        )
        self.deep = nn.Sequential(*(ResidualBlock(lowest, lowest) for _ in range(deep)))
        self.up = nn.ModuleList(nn.Conv3d(below, above, 1) for above, below in pairwise(channels))
        self.up_blocks = nn.ModuleList(ResidualBlock(width, width) for width in upper)
        self.out = norm(channels[0])

    def forward(self, image: Tensor) -> Tensor:
        """Edges are multiples of `stride`."""
        return self.ascend(self.descend(image))

    def scales(self, image: Tensor) -> list[Tensor]:
        """The finished map, then those on the way down, at strides 2, 2, 4, 8, ..."""
        maps = self.descend(image)
        return [self.ascend(maps), *maps]

    def descend(self, image: Tensor) -> list[Tensor]:
        """The way down: image (B, 1, D, H, W) -> maps at strides 2, 4, 8, ..."""
        x = self.stem(fold(image))
        maps = []
        for block, down in zip(self.down_blocks, self.down, strict=True):
            maps.append(block(x))
            x = down(maps[-1])
        return [*maps, self.deep(x)]

    def ascend(self, maps: Sequence[Tensor]) -> Tensor:
        """The way up: maps of `descend` -> (B, C, D/2, H/2, W/2)."""
        *skips, x = maps
        for block, up, skip in reversed(list(zip(self.up_blocks, self.up, skips, strict=True))):
            x = block(skip + F.interpolate(up(x), scale_factor=2, mode="nearest"))
        return F.silu(self.out(x))


def fold(x: Tensor, cell: int = FOLD) -> Tensor:
    """(B, C, D, H, W) -> (B, cell³ C, D/cell, H/cell, W/cell): voxels of a cell become channels."""
    B, C, D, H, W = x.shape
    d, h, w = D // cell, H // cell, W // cell
    blocks = x.reshape(B, C, d, cell, h, cell, w, cell).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(B, C * cell**3, d, h, w)


def unfold(x: Tensor, cell: int = FOLD) -> Tensor:
    """The inverse of `fold`: sub-pixel upsampling (Shi et al. 2016)."""
    B, C, d, h, w = x.shape
    blocks = x.reshape(B, C // cell**3, cell, cell, cell, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(B, C // cell**3, d * cell, h * cell, w * cell)
