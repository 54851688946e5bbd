"""A network that knows its structures: a trunk with one feature map, and a dense head on it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.protocol import FeatureNetworkModule
from mass3d.model.trunk import fold, unfold

WIDTH = 64  # of the head


class SegmentationNetwork(nn.Module):
    """(B, 1, D, H, W) -> logits (B, 1 + S, D, H, W) of the background and S structures.

    The head works on the cells of the feature map, beside which it sees the voxels of each cell as
    they are: a deep trunk forgets where within a cell an edge lies. What it says of them lies in
    its channels and is folded out (sub-pixel upsampling, Shi et al. 2016). It starts at zero: all
    classes are equally likely at first, so that the trunk is not moved by a random head.
    """

    def __init__(self, trunk: FeatureNetworkModule, structures: int) -> None:
        super().__init__()
        self.trunk, self.stride, self.cell = trunk, trunk.stride, trunk.feature_stride
        self.conv = nn.Conv3d(trunk.feature_channels + self.cell**3, WIDTH, 3, 1, 1)
        self.out = nn.Conv3d(WIDTH, self.cell**3 * (1 + structures), 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), edges multiples of `stride` -> logits (B, 1 + S, D, H, W)."""
        seen = torch.cat([self.trunk.features(image), fold(image, self.cell)], 1)
        return unfold(self.out(F.silu(self.conv(seen))), self.cell).float()


def add_head(trunk: FeatureNetworkModule, structures: int, *, seed: int) -> SegmentationNetwork:
    """The network with a head whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNetwork(trunk, structures)
