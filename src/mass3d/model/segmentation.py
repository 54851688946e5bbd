"""A network that knows its structures: a trunk with one feature map, and a dense head on it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.protocol import FeatureNetworkModule

WIDTH = 64  # of the head on cells
FINE = 8  # channels of it that reach every voxel
VOXEL_WIDTH = 16  # of the head on voxels


class SegmentationNetwork(nn.Module):
    """(B, 1, D, H, W) -> logits (B, 1 + S, D, H, W) of the background and S structures.

    The head works on the cells of the feature map; what it says of the voxels of a cell lies in
    its channels and is folded out (sub-pixel upsampling, Shi et al. 2016). On the voxels it looks
    at the image again, as a trunk that folds voxels into channels has no sharp edges. It starts at
    zero: all classes are equally likely at first, so that the trunk is not moved by a random head.
    """

    def __init__(self, trunk: FeatureNetworkModule, structures: int) -> None:
        super().__init__()
        self.trunk, self.stride, self.cell = trunk, trunk.stride, trunk.feature_stride
        self.conv = nn.Conv3d(trunk.feature_channels, WIDTH, 3, 1, 1)
        self.out = nn.Conv3d(WIDTH, self.cell**3 * (1 + structures), 1)
        self.fine = nn.Conv3d(WIDTH, self.cell**3 * FINE, 1)
        self.voxels = nn.Sequential(
            nn.Conv3d(1 + FINE, VOXEL_WIDTH, 3, 1, 1),
            nn.SiLU(),
            nn.Conv3d(VOXEL_WIDTH, VOXEL_WIDTH, 3, 1, 1),
            nn.SiLU(),
        )
        self.sharpen = nn.Conv3d(VOXEL_WIDTH, 1 + structures, 1)
        for last in self.ends:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    @property
    def ends(self) -> tuple[nn.Conv3d, nn.Conv3d]:
        """What the logits are the sum of: the last layers on cells and on voxels."""
        return self.out, self.sharpen

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), edges multiples of `stride` -> logits (B, 1 + S, D, H, W)."""
        hidden = F.silu(self.conv(self.trunk.features(image)))
        seen = torch.cat([image, folded_out(self.fine(hidden), self.cell)], 1)
        rough = folded_out(self.out(hidden), self.cell)
        return (rough + self.sharpen(self.voxels(seen))).float()


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
