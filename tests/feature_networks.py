"""A small network with one dense feature map, for tests of what is built on such."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.protocol import FeatureNetworkModule


class SmallTrunk(nn.Module):
    """Cells of 2³ voxels that know some of their surroundings."""

    stride = 4
    feature_stride = 2
    feature_channels = 12
    encoder_parts = ("stem",)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 12, 4, 2, 1)
        self.far = nn.Conv3d(12, 12, 3, padding=1)
        self.unused = nn.Linear(3, 3)  # as a network has that does more than features

    def features(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W) -> (B, 12, D / 2, H / 2, W / 2)."""
        near = F.silu(self.stem(image))
        far = F.interpolate(self.far(F.avg_pool3d(near, 2)), scale_factor=2)
        return F.silu(near + far)


def small_trunk() -> FeatureNetworkModule:
    """The network for type checkers."""
    return cast("FeatureNetworkModule", SmallTrunk())
