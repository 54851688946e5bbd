"""From a reference view (feature maps + masks) to task tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import Mlp, pool_to

EMPTY = 1e-4  # a mask of less than this many coarse cells counts as empty in the averages


class TaskEncoder(nn.Module):
    """Summarise each mask by what is inside, at its border, and around it, at every scale.

    Maps (B, C_s, D_s, H_s, W_s) and masks (B, K, D, H, W) in [0, 1] -> tokens (B, K, T, dim).
    The tokens of a mask do not depend on the other masks. An empty mask gives a finite answer
    (its averages are zero), never NaN.
    """

    def __init__(self, channels: Sequence[int], *, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        # inside, ring and surroundings per scale, plus the log of the mask's share of the view.
        # The full-resolution map is left out: it holds raw edges only and costs most of the time.
        self.mix = Mlp(3 * sum(channels[1:]) + 1, 2 * dim, tokens * dim)

    def forward(self, maps: Sequence[Tensor], masks: Tensor) -> Tensor:
        """Tokens (B, K, T, dim) of `masks` on the image that gave `maps`."""
        parts = [torch.log(masks.mean(dim=(2, 3, 4)) + 1e-6).unsqueeze(-1) / 10]
        for features in maps[1:]:
            inside = pool_to(masks, features.shape[2:])
            ring = F.max_pool3d(inside, 3, 1, 1) - inside
            parts += [masked_mean(features, inside), masked_mean(features, ring)]
            surroundings = features.mean(dim=(2, 3, 4)).unsqueeze(1)
            parts.append(surroundings.expand(-1, masks.shape[1], -1))
        mixed: Tensor = self.mix(torch.cat(parts, dim=-1))
        return mixed.unflatten(-1, (self.tokens, -1))


def masked_mean(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over space. features (B, C, ...), weights (B, K, ...) -> (B, K, C)."""
    flat = weights.flatten(2)
    total = flat.sum(-1, keepdim=True)
    return (flat @ features.flatten(2).transpose(1, 2)) / total.clamp_min(EMPTY)
