"""The network that learns a cohort: a small U-Net (Ronneberger 2015) on intensities alone.

It does not see what is carried over, so that it cannot copy the errors of single alignments.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.transfer.sliding import slide

OVERLAP = 0.5  # of windows


class CohortNetwork(nn.Module):
    """(B, 1, D, H, W) -> logits (B, 1 + S, D, H, W) of the background and S structures."""

    def __init__(self, structures: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.structures, self.stride = structures, 2 ** (len(channels) - 1)
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList([_block(1, channels[0]), *(_block(a, b) for a, b in pairs)])
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(pairs))
        self.out = nn.Conv3d(channels[0], 1 + structures, 1)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), edges multiples of `stride`."""
        x, skips = image, []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool3d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = block(torch.cat([skip, x], 1))
        logits: Tensor = self.out(x)
        return logits

    def start(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                fan = module.weight[0].numel()
                module.weight.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers.append(nn.Conv3d(width, outputs, 3, padding=1, bias=False))
        layers += [nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


@torch.no_grad()
def seen_by(net: CohortNetwork, image: Tensor, window_vox: int) -> Tensor:
    """Probabilities (S, D, H, W) of the structures in an image (D, H, W); memory of a window."""
    return slide(
        image,
        lambda parts: net(parts).float().softmax(1)[:, 1:],
        window=(window_vox,) * 3,
        channels=net.structures,
        overlap=OVERLAP,
        outside=float(image.min()),
    )
