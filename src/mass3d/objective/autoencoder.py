"""The masked autoencoder: draw what is hidden of a scan from what is seen of it.

SparK (Tian et al. 2023) on our trunk: the way down is masked, the way up is the decoder.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.masked import keep_at_scales, masked_maps, spread
from mass3d.model.protocol import Extended
from mass3d.model.trunk import FOLD, Trunk, unfold

HIDDEN_SHARE = 0.6  # of the cells at the coarsest stride, as in SparK


class Autoencoder(Extended):
    """A network, what stands for hidden cells at each scale, and a layer that draws voxels.

    Of the network the trunk is trained; the rest keeps its initial weights.
    """

    network: CorrespondenceNet

    def __init__(self, network: CorrespondenceNet) -> None:
        super().__init__()
        assert isinstance(network.trunk, Trunk), "masked convolutions are those of our own trunk"
        self.network = network.requires_grad_(False)
        network.trunk.requires_grad_(True)
        # vectors, as weight decay and Muon are for kernels and matrices
        self.hidden = nn.ParameterList(torch.zeros(width) for width in network.trunk.channels)
        self.draw = nn.Conv3d(network.feature_channels, FOLD**3, 1)

    def forward(self, image: Tensor, keep: Tensor) -> Tensor:
        """image (B, 1, D, H, W), keep (B, 1, d, h, w) of `draw_kept` -> all of it, drawn."""
        trunk = cast("Trunk", self.network.trunk)
        maps = masked_maps(trunk, image, keep)
        scales = keep_at_scales(keep, len(maps))
        filled = [
            seen + (1 - kept) * hidden.view(-1, 1, 1, 1)
            for seen, kept, hidden in zip(maps, scales, self.hidden, strict=True)
        ]
        return unfold(self.draw(trunk.ascend(filled))).float()


def draw_kept(image: Tensor, stride: int, generator: torch.Generator) -> Tensor:
    """Which cells of images (B, 1, D, H, W) are seen: (B, 1, d, h, w), of each as many.

    The generator lives on the CPU, so that a GPU draws the same. Raises `ConfigError` for images of
    a single cell, of which nothing could be hidden.
    """
    shape = [len(image), *(n // stride for n in image.shape[2:])]
    if math.prod(shape[1:]) < 2:
        raise ConfigError(
            "views.crop_vox",
            found=f"{list(image.shape[2:])}, one cell of {stride} voxels",
            expected="at least two cells, of which the autoencoder hides some",
            fix=f"Try {[2 * stride] * 3}.",
            setting="views.crop_vox",
        )
    order = torch.rand(shape, generator=generator).flatten(1).argsort(1).argsort(1)
    kept = max(1, round((1 - HIDDEN_SHARE) * order.shape[1]))
    return (order < kept).float().view(shape)[:, None].to(image.device)


def hidden_error(drawn: Tensor, image: Tensor, keep: Tensor) -> Tensor:
    """Mean squared error of the hidden voxels of normalised images (B, 1, D, H, W): a scalar."""
    hidden = 1 - spread(keep, image.shape[2] // keep.shape[2])
    return ((drawn - image).square() * hidden).sum() / hidden.sum()
