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
    if not x.requires_grad:
        return _activated_by_slices(x, eps, x if own else torch.empty_like(x))
    x = x - x.mean((3, 4), keepdim=True).mean(2, keepdim=True)
    squares = torch.linalg.vector_norm(x, dim=(3, 4), keepdim=True).square().mean(2, keepdim=True)
    return (x * torch.rsqrt(squares / (x.shape[3] * x.shape[4]) + eps)).relu_()


def _activated_by_slices(x: Tensor, eps: float, out: Tensor) -> Tensor:
    """The same, in the cache of the processor: what a slice adds to mean and variance, then each.

    Sums are products with ones, four times as fast as sums in the layout of channels last.
    """
    cells = x.shape[3] * x.shape[4]
    ones = x.new_ones(1, cells)
    means, squares = [], []
    for part in x.unbind(2):
        flat = part.flatten(2).transpose(1, 2)
        mean = torch.matmul(ones, flat) / cells  # (B, 1, C)
        away = flat - mean
        means.append(mean)
        squares.append(torch.matmul(ones, away.mul_(away)))
    every = torch.stack(means)
    mean = every.mean(0)
    variance = (torch.stack(squares) / cells + (every - mean).square()).mean(0)
    shift, scale = mean.mT[..., None], torch.rsqrt(variance + eps).mT[..., None]
    for part, to in zip(x.unbind(2), out.unbind(2), strict=True):
        torch.sub(part, shift, out=to).mul_(scale).relu_()
    return out


class ConvBlock(nn.Module):
    """(norm, ReLU, conv 3³) twice, plus the input: (B, in, D, H, W) -> (B, out, D, H, W).

    Where widths differ the input goes through norm, ReLU and a convolution of its own. That is
    the same norm, so it is computed once, and both convolutions are one of twice the width.
    """

    reads_weights_of_parts = True

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
            if own and not y.requires_grad:
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

    reads_weights_of_parts = True

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
            query, key, value = (self._split(part) for part in self.to_all(y).chunk(3, -1))
            mixed = F.scaled_dot_product_attention(query, key, value)
        elif self.heads * x.shape[1] <= x.shape[2]:
            mixed = self._of_few(y, self.norm_context(context))
        else:
            mixed = self._of_many(y, self.norm_context(context))
        found: Tensor = x + self.to_out(mixed.transpose(1, 2).flatten(2))
        return found

    def _of_many(self, x: Tensor, context: Tensor) -> Tensor:
        width = x.shape[-1]
        weight, bias = self.to_all.weight, self.to_all.bias
        query = F.linear(x, weight[:width], bias[:width])
        key, value = F.linear(context, weight[width:], bias[width:]).chunk(2, -1)
        query, key, value = (self._split(part) for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value)

    def _of_few(self, x: Tensor, context: Tensor) -> Tensor:
        """The same without keys and values of the context: (B, heads, T, C / heads).

        A query times a key is the query brought back by the weights of keys, times the context;
        what is mixed of values is the values of what is mixed. The bias of keys adds the same to
        all, which attention does not see. Less work where queries of all heads are few.
        """
        to_query, to_key, to_value = self.to_all.weight.chunk(3)
        bias = self.to_all.bias.chunk(3)
        query = self._split(F.linear(x, to_query, bias[0]))
        back = query @ to_key.unflatten(0, (self.heads, -1))  # (B, heads, T, C)
        mixed = F.scaled_dot_product_attention(
            back.flatten(1, 2)[:, None],
            context[:, None],
            context[:, None],
            scale=HEAD_WIDTH**-0.5,
        )
        mixed = mixed[:, 0].unflatten(1, (self.heads, -1))
        values = mixed @ to_value.unflatten(0, (self.heads, -1)).mT
        return values + bias[2].unflatten(0, (self.heads, 1, -1))

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
