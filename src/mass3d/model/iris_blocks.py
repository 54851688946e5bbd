"""Building blocks of the released network, with the quirks that its weights need.

Letters: B batch, T tokens, C channels, N cells of a map, D H W space.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH: Final = 32  # channels of an attention head
# The release has two: these are of blocks of convolutions, of self-attention and of MLPs ...
BLOCK_EPS: Final = 1e-4
USUAL_EPS: Final = 1e-5  # ... and this of all others.


def activated(x: Tensor, eps: float, *, own: bool = False) -> Tensor:
    """Instance norm without weights, then ReLU: (B, C, D, H, W) of any size.

    `own`: nobody needs `x` any more, so that it may be written over where no gradient is wanted.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        # not by `F.group_norm`, which refuses maps of one cell
        return F.relu_(torch.group_norm(x, x.shape[1], None, None, eps, cudnn_enabled=False))
    # Torch's own norms add up a channels-last map in one long chain: at 128³ that alone is a
    # relative error of 6e-4. Slice by slice it is 1e-6.
    mean = x.mean((3, 4), keepdim=True).mean(2, keepdim=True)
    in_place = own and not torch.is_grad_enabled()
    x = x.sub_(mean) if in_place else x - mean
    squares = torch.linalg.vector_norm(x, dim=(3, 4), keepdim=True).square().mean(2, keepdim=True)
    scale = torch.rsqrt(squares / (x.shape[3] * x.shape[4]) + eps)
    return (x * scale if torch.is_grad_enabled() else x.mul_(scale)).relu_()


class ConvBlock(nn.Module):
    """(norm, ReLU, conv 3³) twice, plus the input: (B, in, D, H, W) -> (B, out, D, H, W).

    Where widths differ the input goes through norm, ReLU and a convolution of its own. That is
    the same norm, so it is computed once, and both convolutions are one of twice the width.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut: nn.Conv3d | None = None
        if in_channels != out_channels:
            self.shortcut = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, *, own: bool = False) -> Tensor:
        """Apply the block; `own` as for `activated`."""
        if self.shortcut is None:
            y = self.conv1(activated(x, BLOCK_EPS))
        else:
            weight = torch.cat([self.conv1.weight, self.shortcut.weight])
            shown = activated(x, BLOCK_EPS, own=own)
            y, rest = F.conv3d(shown, weight, padding=1).chunk(2, 1)
            if own and not torch.is_grad_enabled():
                shown.untyped_storage().resize_(0)  # callers hold it to the end: the largest map
            x = rest
        found: Tensor = self.conv2(activated(y, BLOCK_EPS, own=True))
        return found.add_(x)


class TwoBlocks(nn.Module):
    """Two blocks, the first of which changes the width; it writes over its input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(in_channels, out_channels)
        self.second = ConvBlock(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D, H, W)."""
        found: Tensor = self.second(self.first(x, own=True))
        return found


class Attention(nn.Module):
    """Pre-norm multi-head attention with a residual, over the input itself or over a context."""

    def __init__(self, width: int, *, over_context: bool = False) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.norm = nn.LayerNorm(width, eps=USUAL_EPS if over_context else BLOCK_EPS)
        self.norm_context = nn.LayerNorm(width, eps=USUAL_EPS) if over_context else None
        self.to_all = nn.Linear(width, 3 * width)  # queries, keys and values
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, T, C), context (B, N, C) -> (B, T, C)."""
        y = self.norm(x)
        if self.norm_context is None:
            query, key, value = self.to_all(y).chunk(3, -1)
        else:
            width = x.shape[-1]
            weight, bias = self.to_all.weight, self.to_all.bias
            query = F.linear(y, weight[:width], bias[:width])
            both = F.linear(self.norm_context(context), weight[width:], bias[width:])
            key, value = both.chunk(2, -1)
        query, key, value = (self._split(part) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        found: Tensor = x + self.to_out(mixed.transpose(1, 2).flatten(2))
        return found

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Perceptron(nn.Module):
    """Linear, GELU, linear on the last axis; the width between is told."""

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_features, hidden)
        self.linear2 = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        found: Tensor = self.linear2(F.gelu(self.linear1(x)))
        return found


class FeedForward(nn.Module):
    """Layer norm and a perceptron of four times the width, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = Perceptron(width, 4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        found: Tensor = x + self.mlp(self.norm(x))
        return found
