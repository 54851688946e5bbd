"""How the released network makes tokens of masks, with the work that its function needs only.

Letters: B batch, K masks, T tokens of a mask, C channels, s stride of a map (d, h, w), D H W space.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.iris_blocks import USUAL_EPS, Attention, FeedForward, activated


class TaskBlock(nn.Module):
    """The tokens of a mask look at each other, at the cells of its map, and at each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attend_before, self.update_before = Attention(width), FeedForward(width)
        self.gather, self.update = Attention(width, over_context=True), FeedForward(width)
        self.attend_after, self.update_after = Attention(width), FeedForward(width)

    def forward(self, tokens: Tensor, cells: Tensor) -> Tensor:
        """tokens (B, T, C), cells (B, N, C) -> tokens."""
        tokens = self.update_before(self.attend_before(tokens))
        tokens = self.update(self.gather(tokens, cells))
        found: Tensor = self.update_after(self.attend_after(tokens))
        return found


class TaskStage(nn.Module):
    """One map of a reference and its masks -> tokens: learned ones, then one of the foreground.

    `edge`: of the learned map of positions; no reference may be larger.
    """

    reads_weights_of_parts = True

    def __init__(self, width: int, stride: int, *, queries: int, edge: int) -> None:
        super().__init__()
        self.stride = stride
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.positions = nn.Parameter(torch.randn(1, 1, edge, edge, edge))
        self.expand = nn.Conv3d(width, stride**3, 1)
        self.merge = nn.Conv3d(2, 1, 3, padding=1)
        self.squeeze = nn.Conv3d(stride**3, width, 1)
        self.norm_queries, self.norm_foreground = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_tokens, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TaskBlock(width) for _ in range(2))

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """features (B, C, d, h, w), masks (B, K, D, H, W) -> tokens (B, K, T, C)."""
        B, K = masks.shape[:2]
        queries = self.norm_queries(self.queries).expand(B, K, -1, -1)
        foreground = self.norm_foreground(foreground_mean(features, masks))
        tokens = self.norm_tokens(torch.cat([queries, foreground[:, :, None]], 2)).flatten(0, 1)
        cells = self._conditioned(features, masks)
        for block in self.blocks:
            tokens = block(tokens, cells)
        found: Tensor = self.norm_out(tokens)
        return found.unflatten(0, (B, K))

    def _conditioned(self, features: Tensor, masks: Tensor) -> Tensor:
        """The map as each mask changes it: (B K, N, C).

        What does not depend on the mask is computed once: the convolution of the two channels is
        the sum of those of each.
        """
        B, K = masks.shape[:2]
        drawn = shuffle(self.expand(activated(features, USUAL_EPS)), self.stride)
        D, H, W = masks.shape[2:]
        weight, bias = self.merge.weight, self.merge.bias
        drawn = activated(drawn, USUAL_EPS, own=True)
        shared = F.conv3d(drawn, weight[:, :1], bias, padding=1) + self.positions[..., :D, :H, :W]
        own = activated(masks.flatten(0, 1)[:, None], USUAL_EPS)
        own = F.conv3d(own, weight[:, 1:], padding=1).unflatten(0, (B, K))
        merged = (own + shared[:, None]).flatten(0, 1)
        cells = self.squeeze(activated(unshuffle(merged, self.stride), USUAL_EPS, own=True))
        cells = cells.unflatten(0, (B, K)) + features[:, None]
        return cells.flatten(0, 1).flatten(2).transpose(1, 2)


def foreground_mean(features: Tensor, masks: Tensor) -> Tensor:
    """The mean of upsampled features in each mask: (B, K, C).

    features (B, C, d, h, w), masks (B, K, D, H, W) in [0, 1]. The mean is linear in the features,
    so masks are brought down by the transpose of the interpolation, instead of features up by it.
    A mask counts as at least one voxel.
    """
    pooled = masks
    for axis in (4, 3, 2):  # the last first: it is the one that lies together in memory
        matrix = interpolation(features.shape[axis], masks.shape[axis]).to(masks)
        pooled = torch.tensordot(pooled, matrix, ([axis], [0])).movedim(-1, axis)
    sums = pooled.flatten(2) @ features.flatten(2).transpose(1, 2).to(masks)
    return sums / masks.sum((2, 3, 4)).clamp_min(1)[..., None]


def interpolation(coarse: int, fine: int) -> Tensor:
    """Linear interpolation of a line, corners aligned, as a matrix (fine, coarse)."""
    lines = F.interpolate(torch.eye(coarse)[None], fine, mode="linear", align_corners=True)
    return lines[0].T.contiguous()


def shuffle(x: Tensor, s: int) -> Tensor:
    """(B, s³, d, h, w) -> (B, 1, s d, s h, s w): channels become voxels, the last axis fastest."""
    B, _, d, h, w = x.shape
    blocks = x.unflatten(1, (s, s, s)).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(B, 1, d * s, h * s, w * s)


def unshuffle(x: Tensor, s: int) -> Tensor:
    """(B, 1, s d, s h, s w) -> (B, s³, d, h, w): the inverse of `shuffle`."""
    B, _, D, H, W = x.shape
    blocks = x.view(B, D // s, s, H // s, s, W // s, s).permute(0, 2, 4, 6, 1, 3, 5)
    return blocks.reshape(B, s**3, D // s, H // s, W // s)
