"""From query feature maps and task tokens to one logit map per mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import (
    CrossAttention,
    Mlp,
    ResidualBlock,
    norm,
    upsample_to,
    voxels_back,
    voxels_last,
)


class Fusion(nn.Module):
    """Two-way exchange: every token looks into the query map, then the map looks at the tokens.

    Tokens of different masks do not see each other, so what a mask gathers from the query does
    not depend on what else is asked; only the map mixes them.
    """

    def __init__(self, channels: int, dim: int, *, heads: int) -> None:
        super().__init__()
        self.gather = CrossAttention(dim, channels, heads=heads)
        self.update = Mlp(dim, 2 * dim, dim)
        self.spread = CrossAttention(channels, dim, heads=heads)
        self.refine = Mlp(channels, 2 * channels, channels)

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, C, D, H, W), tokens (B, K*T, dim) -> the same shapes, updated."""
        voxels = voxels_last(features)
        tokens = self.gather(tokens, voxels)
        tokens = tokens + self.update(tokens)
        voxels = self.spread(voxels, tokens)
        voxels = voxels + self.refine(voxels)
        return voxels_back(voxels, features), tokens


class Decoder(nn.Module):
    """A U-Net decoder whose deepest `fusions` stages exchange with the task tokens.

    Returns half-resolution and full-resolution features and the tokens as the query shaped them.
    """

    def __init__(self, channels: Sequence[int], *, dim: int, fusions: int, heads: int) -> None:
        super().__init__()
        levels = list(range(len(channels) - 1, 0, -1))  # deepest ... half resolution
        self.fuse = nn.ModuleList(
            Fusion(channels[level], dim, heads=heads) for level in levels[:fusions]
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[level] + channels[level - 1], channels[level - 1])
            for level in levels[:-1]
        )
        self.half_norm = norm(channels[1])
        self.sharpen = nn.Conv3d(channels[1] + channels[0], 2 * channels[0], 3, 1, 1)

    def forward(self, maps: Sequence[Tensor], tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """maps finest first, tokens (B, K, T, dim) -> half, full, tokens."""
        _, K, T, _ = tokens.shape
        flat = tokens.flatten(1, 2)
        x = maps[-1]
        for stage, block in enumerate(self.blocks):
            if stage < len(self.fuse):
                x, flat = self.fuse[stage](x, flat)
            skip = maps[-2 - stage]
            x = block(torch.cat([upsample_to(x, skip), skip], dim=1))
        half = F.silu(self.half_norm(x))
        full = F.silu(self.sharpen(torch.cat([upsample_to(half, maps[0]), maps[0]], dim=1)))
        return half, full, flat.unflatten(1, (K, T))


class DynamicClassifier(nn.Module):
    """A small classifier per mask, whose weights its tokens write.

    At half resolution a two-layer network (C -> hidden -> 1), which can say "this but not that";
    at full resolution a linear correction for sharp edges. Conditional convolutions:
    Tian et al. 2020 (CondInst).
    """

    def __init__(self, half: int, full: int, *, features: int, hidden: int) -> None:
        super().__init__()
        self.shapes = [(hidden, half), (hidden,), (hidden,), (1,), (full,)]
        self.sizes = [int(torch.Size(shape).numel()) for shape in self.shapes]
        self.write = Mlp(features, features, sum(self.sizes))
        with torch.no_grad():  # start near "nothing is here", where most voxels are
            self.write.linear2.bias[-full - 1] = -2.0

    def forward(self, half: Tensor, full: Tensor, tokens: Tensor) -> Tensor:
        """half (B, C1, ...), full (B, C0, D, H, W), tokens (B, K, F) -> logits (B, K, D, H, W)."""
        parts = self.write(tokens).split(self.sizes, dim=-1)
        first, shift, second, bias, edge = (
            part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )
        scale = half.shape[1] ** -0.5
        hidden = torch.einsum("bkhc,bcn->bkhn", first * scale, half.flatten(2))
        hidden = F.relu(hidden + shift.unsqueeze(-1))
        coarse = torch.einsum("bkh,bkhn->bkn", second, hidden) + bias
        sharp = torch.einsum("bkc,bcn->bkn", edge * full.shape[1] ** -0.5, full.flatten(2))
        coarse_map = upsample_to(coarse.unflatten(-1, half.shape[2:]), full)
        return coarse_map + sharp.unflatten(-1, full.shape[2:])
