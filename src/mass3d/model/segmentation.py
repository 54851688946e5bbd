"""A network that knows its structures: a trunk with one feature map, and a dense head on it.

The channels of a case all go through one trunk, one by one, and the head sees the maps of all. So
the trunk stays what was pretrained, on single scans: no first convolution is cut open or filled
with copies of others, whatever the preset, and the trunk learns of all channels. The price is time
and memory, times channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.protocol import FeatureNetworkModule
from mass3d.model.trunk import fold, unfold

WIDTH = 64  # of the head


class SegmentationNetwork(nn.Module):
    """(B, channels, D, H, W) -> logits (B, 1 + S, D, H, W) of the background and S structures.

    The head works on the cells of the feature map, beside which it sees the voxels of each cell as
    they are: a deep trunk forgets where within a cell an edge lies. What it says of them lies in
    its channels and is folded out (sub-pixel upsampling, Shi et al. 2016). It starts at zero: all
    classes are equally likely at first, so that the trunk is not moved by a random head.
    """

    def __init__(self, trunk: FeatureNetworkModule, structures: int, channels: int = 1) -> None:
        super().__init__()
        self.trunk, self.stride, self.cell = trunk, trunk.stride, trunk.feature_stride
        self.channels = channels
        seen = channels * (trunk.feature_channels + self.cell**3)
        self.conv = nn.Conv3d(seen, WIDTH, 3, 1, 1)
        self.out = nn.Conv3d(WIDTH, self.cell**3 * (1 + structures), 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """image (B, channels, D, H, W), edges multiples of `stride` -> (B, 1 + S, D, H, W)."""
        seen = torch.cat([self._features(image), fold(image, self.cell)], 1)
        return unfold(self.out(F.silu(self.conv(seen))), self.cell).float()

    def _features(self, image: Tensor) -> Tensor:
        """The maps of all channels, one behind the other."""
        if self.channels == 1:
            return self.trunk.features(image)
        maps = self.trunk.features(image.flatten(0, 1).unsqueeze(1))
        return maps.unflatten(0, (-1, self.channels)).flatten(1, 2)


def add_head(
    trunk: FeatureNetworkModule, structures: int, *, seed: int, channels: int = 1
) -> SegmentationNetwork:
    """The network with a head whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNetwork(trunk, structures, channels)
