"""A network that knows its structures: a trunk with one feature map, and a dense head on it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.protocol import FeatureNetworkModule

WIDTH = 64  # of the head


class SegmentationNetwork(nn.Module):
    """(B, 1, D, H, W) -> logits (B, 1 + S, D, H, W) of the background and S structures.

    The head works on the cells of the feature map; what it says of the voxels of a cell lies in
    its channels and is folded out (sub-pixel upsampling, Shi et al. 2016). It starts at zero: all
    classes are equally likely at first, so that the trunk is not moved by a random head.
    """

    def __init__(self, trunk: FeatureNetworkModule, structures: int) -> None:
        super().__init__()
        self.trunk, self.stride, self.cell = trunk, trunk.stride, trunk.feature_stride
        self.conv = nn.Conv3d(trunk.feature_channels, WIDTH, 3, 1, 1)
        self.out = nn.Conv3d(WIDTH, self.cell**3 * (1 + structures), 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), edges multiples of `stride` -> logits (B, 1 + S, D, H, W)."""
        hidden = F.silu(self.conv(self.trunk.features(image)))
        return folded_out(self.out(hidden), self.cell).float()


def add_head(trunk: FeatureNetworkModule, structures: int, *, seed: int) -> SegmentationNetwork:
    """The network with a head whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNetwork(trunk, structures)


def folded_out(x: Tensor, cell: int) -> Tensor:
    """(B, cell³ C, d, h, w) -> (B, C, cell d, cell h, cell w): channels become voxels."""
    B, _, d, h, w = x.shape
    blocks = x.view(B, -1, cell, cell, cell, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(B, -1, d * cell, h * cell, w * cell)
