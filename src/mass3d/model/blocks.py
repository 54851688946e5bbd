"""Building blocks: normalised convolutions, residual blocks, token attention.

Letters: B batch, K masks, T tokens of a mask, C channels, N voxels of a map, D H W space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_PER_GROUP = 8


def norm(channels: int) -> nn.GroupNorm:
    """Group norm over channels and space.

    Instance norm would erase a mask's size and fails on one-voxel maps, which the deepest stage
    of a small crop is; groups of a few channels keep both.
    """
    most = max(1, channels // CHANNELS_PER_GROUP)
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)


class ResidualBlock(nn.Module):
    """Pre-activation residual block: (norm, activation, conv 3³) twice, plus the input.

    (B, in, D, H, W) -> (B, out, D/stride, H/stride, W/stride). A change of width or stride puts
    a 1³ convolution (after average pooling) on the shortcut. He et al. 2016, "Identity mappings".
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.project: nn.Module = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv3d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        shortcut = F.avg_pool3d(x, self.stride) if self.stride > 1 else x
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + self.project(shortcut)


class Mlp(nn.Module):
    """Layer norm, linear, GELU, linear on the last axis."""

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_features)
        self.linear1 = nn.Linear(in_features, hidden)
        self.linear2 = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.linear2(F.gelu(self.linear1(self.norm(x))))


class CrossAttention(nn.Module):
    """Pre-norm multi-head attention of `x` over `context`, with a residual."""

    def __init__(self, dim: int, context_dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_context = nn.LayerNorm(dim), nn.LayerNorm(context_dim)
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key_value = nn.Linear(context_dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, dim), context (B, M, context_dim) -> (B, N, dim)."""
        query = self._split(self.to_query(self.norm_x(x)))
        key, value = self.to_key_value(self.norm_context(context)).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(query, self._split(key), self._split(value))
        return x + self.to_out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Trilinear upsampling of `x` to the space of `like`."""
    return F.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


def voxels_last(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def voxels_back(x: Tensor, like: Tensor) -> Tensor:
    """(B, N, C) -> (B, C, D, H, W) with the space of `like`."""
    return x.transpose(1, 2).unflatten(2, like.shape[2:]).contiguous()


def pool_to(masks: Tensor, shape: torch.Size) -> Tensor:
    """Fraction of each cell of a coarser grid that a mask covers.

    masks (B, K, D, H, W) in [0, 1]; the fine shape is a multiple of `shape` (D', H', W').
    Pooling the mask instead of upsampling the features gives the same masked average for
    nearest-neighbour features at a fraction of the cost.
    """
    stride = [fine // coarse for fine, coarse in zip(masks.shape[2:], shape, strict=True)]
    return F.avg_pool3d(masks, stride) if max(stride) > 1 else masks
