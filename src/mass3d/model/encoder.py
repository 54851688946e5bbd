"""The image encoder: a residual pyramid that spends little on full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import ResidualBlock, norm


class Encoder(nn.Module):
    """(B, 1, D, H, W) -> feature maps at strides 1, 2, 4, ... 2^(len(channels) - 1).

    `channels[0]` is a thin full-resolution skip that exists for sharp edges only; the work
    starts at half resolution, because 3D cost falls eightfold with each halving.
    """

    def __init__(self, channels: Sequence[int], *, blocks: Sequence[int]) -> None:
        super().__init__()
        self.skip = nn.Conv3d(1, channels[0], 3, 1, 1)
        self.stem = nn.Conv3d(1, channels[1], 4, 2, 1)
        stages = []
        for level, count in enumerate(blocks):
            width = channels[level + 1]
            first = (
                ResidualBlock(width, width)
                if level == 0
                else ResidualBlock(channels[level], width, stride=2)
            )
            stages.append(
                nn.Sequential(first, *(ResidualBlock(width, width) for _ in range(count - 1)))
            )
        self.stages = nn.ModuleList(stages)
        self.norms = nn.ModuleList(norm(width) for width in channels[1:])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps, finest first; every one normalised and activated, ready to be read."""
        maps = [F.silu(self.skip(image))]
        x = self.stem(image)
        for stage, normalise in zip(self.stages, self.norms, strict=True):
            x = stage(x)
            maps.append(F.silu(normalise(x)))
        return maps
