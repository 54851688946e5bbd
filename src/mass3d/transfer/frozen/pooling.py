"""From the feature maps of windows to one row per scan, to cells, and to a dense map.

Letters: C channels of a map; d, h, w cells of it. Nothing here grows with the scan but what is
asked for: sums per channel, one number per channel of each coarse cell, three slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mass3d.transfer.frozen.windows import Window

MAX_CELLS: Final = 2048  # of a scan; beyond, cells are made twice as large
MAX_HALF: Final = 65504.0  # the largest number in 16 bits


@dataclass
class Moments:
    """Weighted sums of a map: what its mean and standard deviation come from."""

    channels: int
    weight: float = 0.0
    first: Tensor = field(init=False)  # (C,) float64
    second: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.second = torch.zeros(2, self.channels, dtype=torch.float64)

    def add(self, cells: Tensor, weight: Tensor) -> None:
        """cells (C, d, h, w), weight (d, h, w)."""
        flat, share = cells.flatten(1).double().cpu(), weight.flatten().double().cpu()
        self.weight += float(share.sum())
        self.first += flat @ share
        self.second += flat.square() @ share

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Each (C,)."""
        mean = self.first / self.weight
        return mean, (self.second / self.weight - mean.square()).clamp_min(0).sqrt()


class Cells:
    """Averages of all maps over coarse cells, by the body in them."""

    def __init__(self, shape: Sequence[int], stride: int, channels: int) -> None:
        """shape: of the padded scan in voxels, whole multiples of `stride`."""
        small = [n // stride for n in shape]
        self.merged = 1  # so many of the strides are an edge of a cell
        while np.prod([-(-n // self.merged) for n in small]) > MAX_CELLS:
            self.merged *= 2
        self.stride = stride
        self.shape = tuple(-(-n // self.merged) for n in small)
        self.sums = torch.zeros(int(np.prod(self.shape)), channels)
        self.weights = torch.zeros(len(self.sums))

    def add(self, maps: Sequence[Tensor], weights: Tensor, window: Window) -> None:
        """Maps (C, d, h, w) of a window, and weights (D, H, W) of its voxels."""
        shape = [n // self.stride for n in weights.shape]
        size = self.stride**3
        blocks = [size * shrunk(shrunk(weights[None], one.shape[1:]) * one, shape) for one in maps]
        axes = [
            (part.start // self.stride + torch.arange(n)) // self.merged
            for part, n in zip(window.box, shape, strict=True)
        ]
        _, H, W = self.shape
        index = ((axes[0][:, None, None] * H + axes[1][:, None]) * W + axes[2]).flatten()
        self.sums.index_add_(0, index, torch.cat(blocks).flatten(1).T.float().cpu())
        share = size * shrunk(weights[None], shape)
        self.weights.index_add_(0, index, share.flatten().cpu())

    def averages(self) -> NDArray[np.float16]:
        """(n, C) of the n cells that hold a voxel of the body or more."""
        kept = self.weights >= 1.0
        if not kept.any():  # a body of less than a voxel in every cell
            kept = self.weights == self.weights.max()
        return halves(self.sums[kept] / self.weights[kept, None])


class Planes:
    """Three slices of a map: across each axis of (d, h, w) through one cell."""

    def __init__(self, shape: Sequence[int], channels: int, through: Sequence[int]) -> None:
        """shape: of the map; through: the cell."""
        d, h, w = through
        self.through = (d, h, w)
        self.slices = [
            torch.zeros((channels, *(n for other, n in enumerate(shape) if other != axis)))
            for axis in range(3)
        ]

    def add(self, cells: Tensor, weight: Tensor, start: Sequence[int]) -> None:
        """cells (C, d, h, w) with weight (d, h, w), from the cell `start` of the map on."""
        shares = (cells * weight).float().cpu()
        for axis, at in enumerate(self.through):
            inside = at - start[axis]
            if 0 <= inside < shares.shape[axis + 1]:
                box = tuple(
                    slice(first, first + n)
                    for other, (first, n) in enumerate(zip(start, shares.shape[1:], strict=True))
                    if other != axis
                )
                self.slices[axis][(slice(None), *box)] += shares.select(axis + 1, inside)

    def cut(self, shape: Sequence[int]) -> tuple[NDArray[np.float16], ...]:
        """The slices, of the first `shape` cells along each axis: (C, rows, columns) in 16 bits."""
        found = []
        for axis, plane in enumerate(self.slices):
            rows, columns = (n for other, n in enumerate(shape) if other != axis)
            found.append(halves(plane[:, :rows, :columns]))
        return tuple(found)


class Dense:
    """A whole map, blended: the one thing that takes memory for the whole scan."""

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        self.cells = torch.zeros((channels, *shape))

    def add(self, cells: Tensor, weight: Tensor, start: Sequence[int]) -> None:
        """As `Planes.add`."""
        box = tuple(
            slice(first, first + n) for first, n in zip(start, cells.shape[1:], strict=True)
        )
        self.cells[(slice(None), *box)] += (cells * weight).float().cpu()

    def cut(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """The first `shape` cells along each axis: (C, d, h, w)."""
        d, h, w = shape
        return self.cells[:, :d, :h, :w].numpy()


def halves(values: Tensor) -> NDArray[np.float16]:
    """Numbers in 16 bits; what is too large for these is the largest of them."""
    return values.clamp(-MAX_HALF, MAX_HALF).numpy().astype(np.float16)


def shrunk(cells: Tensor, shape: Sequence[int]) -> Tensor:
    """Cells (C, D, H, W) averaged over larger ones: (C, *shape)."""
    d, h, w = shape
    return F.adaptive_avg_pool3d(cells, (d, h, w))


def cell_weights(weights: Tensor, cells: Tensor) -> Tensor:
    """Summed weights (d, h, w) of the voxels (D, H, W) in the cells of a map (C, d, h, w)."""
    return shrunk(weights[None], cells.shape[1:])[0] * (weights.numel() / cells[0].numel())
