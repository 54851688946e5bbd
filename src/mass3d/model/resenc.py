"""nnU-Net's residual encoder U-Net without its heads, and the cells that we match on top of it.

The parts are called as in the package `dynamic-network-architectures`, so that weights go both ways
(`model.nnunet`). That package is no dependency: its releases since 0.4 need timm and torchvision,
older ones do not go together with nnU-Net. What a network is there is told in its `residual.py`,
`residual_encoders.py` and `unet_decoder.py`; `tests/nnunet` compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.blocks import norm
from mass3d.model.plan import CELL, ResEncPlan

SLOPE = 1e-2  # of the leaky rectifier
Triple = tuple[int, int, int]


class InstanceNorm(nn.InstanceNorm3d):
    """The norm of each channel of each sample; a map of one voxel is its own mean."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  its name in torch
        """(B, C, D, H, W) -> the same; torch refuses a single voxel."""
        if input.shape[2:].numel() == 1:
            return (input - input) + self.bias.view(1, -1, 1, 1, 1).to(input)
        return super().forward(input)


class Conv(nn.Module):
    """Convolution and norm, and a leaky rectifier where it is `active`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        *,
        bias: bool = True,
        active: bool = True,
    ) -> None:
        super().__init__()
        d, h, w = kernel
        padding = (d // 2, h // 2, w // 2)
        self.active = active
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=bias)
        self.norm = InstanceNorm(out_channels, eps=1e-5, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D / stride, H / stride, W / stride)."""
        x = self.norm(self.conv(x))
        return F.leaky_relu(x, SLOPE) if self.active else x


class Stack(nn.Module):
    """Convolutions in a row."""

    def __init__(self, count: int, in_channels: int, out_channels: int, kernel: Triple) -> None:
        super().__init__()
        widths = [in_channels, *[out_channels] * count]
        self.convs = nn.Sequential(*(Conv(a, b, kernel) for a, b in pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D, H, W)."""
        return self.convs(x)


class Block(nn.Module):
    """A residual block of ResNet-D: He et al. 2019, "Bag of tricks for image classification"."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, out_channels, kernel, stride)
        self.conv2 = Conv(out_channels, out_channels, kernel, active=False)
        skip: list[nn.Module] = []
        if stride != (1, 1, 1):
            skip.append(nn.AvgPool3d(stride, stride))
        if in_channels != out_channels:
            skip.append(Conv(in_channels, out_channels, (1, 1, 1), bias=False, active=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D / stride, H / stride, W / stride)."""
        return F.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), SLOPE)


class Stage(nn.Module):
    """Residual blocks in a row, the first of which has the stride."""

    def __init__(
        self, count: int, in_channels: int, out_channels: int, kernel: Triple, stride: Triple
    ) -> None:
        super().__init__()
        further = (Block(out_channels, out_channels, kernel) for _ in range(count - 1))
        self.blocks = nn.Sequential(Block(in_channels, out_channels, kernel, stride), *further)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) -> (B, out, D / stride, H / stride, W / stride)."""
        return self.blocks(x)


class Encoder(nn.Module):
    """The way down: image (B, 1, D, H, W) -> a map of each stage, the finest first."""

    def __init__(self, plan: ResEncPlan) -> None:
        super().__init__()
        widths = (plan.features_per_stage[0], *plan.features_per_stage)
        self.stem = Stack(1, 1, widths[0], plan.kernel_sizes[0])
        self.stages = nn.Sequential(
            *(
                Stage(count, above, width, kernel, stride)
                for count, (above, width), kernel, stride in zip(
                    plan.n_blocks_per_stage,
                    pairwise(widths),
                    plan.kernel_sizes,
                    plan.strides,
                    strict=True,
                )
            )
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Edges are multiples of the stride of the plan."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class Decoder(nn.Module):
    """The way up: maps of the encoder -> the finished map (B, C, D, H, W) at full resolution."""

    def __init__(self, plan: ResEncPlan) -> None:
        super().__init__()
        widths, stages = plan.features_per_stage, range(plan.n_stages - 1, 0, -1)
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(widths[s], widths[s - 1], plan.strides[s], plan.strides[s])
            for s in stages
        )
        self.stages = nn.ModuleList(
            Stack(count, 2 * widths[s - 1], widths[s - 1], plan.kernel_sizes[s - 1])
            for count, s in zip(plan.n_conv_per_stage_decoder, stages, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of all stages of the encoder, the finest first."""
        *skips, x = maps
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], 1))
        return x


class ResEncTrunk(nn.Module):
    """(B, 1, D, H, W) -> (B, `width`, D/2, H/2, W/2), where every cell knows the whole view.

    The encoder and decoder of nnU-Net, all of which are trained, and one convolution that gathers
    the finished map into the cells of 2³ voxels that are matched and drawn.
    """

    encoder_parts = ("encoder",)

    def __init__(self, plan: ResEncPlan, *, width: int) -> None:
        super().__init__()
        self.width, self.stride = width, plan.stride
        self.channels = plan.features_per_stage
        self.cells = plan.strides_so_far
        self.encoder = Encoder(plan)
        self.decoder = Decoder(plan)
        self.gather = nn.Conv3d(self.channels[0], width, CELL, CELL)
        self.out = norm(width)
        self.apply(_begin)

    def forward(self, image: Tensor) -> Tensor:
        """Edges are multiples of `stride`."""
        return self.ascend(self.descend(image))

    def scales(self, image: Tensor) -> list[Tensor]:
        """The finished map, then those of the encoder below full resolution, with cubic cells."""
        maps = self.descend(image)
        below = zip(maps[1:], self.cells[1:], strict=True)
        return [self.ascend(maps), *(_cubic(one, cell) for one, cell in below)]

    def descend(self, image: Tensor) -> list[Tensor]:
        """The way down: image (B, 1, D, H, W) -> maps of all stages, the finest first."""
        return self.encoder(image)

    def ascend(self, maps: Sequence[Tensor]) -> Tensor:
        """The way up: maps of `descend` -> (B, C, D/2, H/2, W/2)."""
        return F.silu(self.out(self.gather(self.decoder(maps))))


def _begin(module: nn.Module) -> None:
    """Initialisation as in nnU-Net, but for the last norm of a block, which it sets to zero.

    That would hide the gradients of all kernels of the encoder from the first try of 16 bits.
    """
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _cubic(x: Tensor, cell: Triple) -> Tensor:
    """A map with cells of some voxels along each axis, averaged over cubes."""
    edges = [max(cell) // edge for edge in cell]
    return F.avg_pool3d(x, edges) if max(edges) > 1 else x
