"""A frozen network shown a whole scan, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mass3d.model.build import build_network
from mass3d.model.protocol import Maps, Network
from mass3d.transfer.frozen.pooling import Cells, Dense, Moments, Planes, cell_weights
from mass3d.transfer.frozen.windows import Window, padded_shape, weighted_windows
from mass3d.transfer.sliding import VOXELS_AT_ONCE
from mass3d.transfer.trained import TrainedModel, load_trained, read_run
from mass3d.volume.box import box_around

MIN_DENSE_STRIDE: Final = 2  # a map at full resolution sees little but intensities


@dataclass(frozen=True)
class MapShape:
    """What a map of a network is like."""

    stride: int  # voxels per cell, along every axis
    channels: int


@dataclass(frozen=True)
class Features:
    """What a frozen network says of a scan."""

    pooled: NDArray[np.float32]  # (F,): of every map in turn its means, then its deviations
    cells: NDArray[np.float16]  # (n, C): all maps averaged over coarse cells with body in them
    planes: tuple[NDArray[np.float16], ...]  # of the dense map, (C, rows, columns) across each axis
    through: tuple[int, int, int]  # the cell of the dense map in which they meet
    edge: int  # voxels per cell of the dense map
    dense: NDArray[np.float32] | None  # (C, d, h, w), where it was asked for


def load_untrained(run: Path, *, device: str = "auto") -> TrainedModel:
    """The network of a run as it was before its first step; its errors are those of the run."""
    trained, (record, _, _) = load_trained(run, device=device), read_run(run)
    net = build_network(record.preset, seed=record.seed).eval().requires_grad_(False)
    # torch's stubs do not know the argument
    net = net.to(trained.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return replace(trained, net=net, fingerprint=f"untrained, seed {record.seed}")


def scales_of(net: Network, image: Tensor) -> Maps:
    """image (B, 1, D, H, W) -> all feature maps of a network that are worth pooling."""
    maps: Maps = getattr(net, "scales", net.encode)(image)
    return maps


@torch.no_grad()
def map_shapes(model: TrainedModel) -> tuple[MapShape, ...]:
    """What maps a network has."""
    edge = 2 * model.net.stride
    maps = scales_of(model.net, torch.zeros((1, 1, edge, edge, edge), device=model.device))
    return tuple(MapShape(edge // one.shape[2], one.shape[1]) for one in maps)


def dense_map(shapes: Sequence[MapShape]) -> int:
    """Which of the maps is shown and written: the finest whose cells are more than a voxel."""
    return next((i for i, one in enumerate(shapes) if one.stride >= MIN_DENSE_STRIDE), 0)


@torch.no_grad()
def encode(
    model: TrainedModel,
    image: NDArray[np.float32],
    body: NDArray[np.bool_],
    *,
    outside: float,
    overlap: float,
    dense: bool = False,
) -> Features:
    """Show a prepared image (D, H, W) in windows of the crop that the network was trained on.

    Everything but planes and the dense map goes by the voxels of `body` (D, H, W) alone. outside:
    what lies around the image. Memory is that of a window, of the image, and of the dense map.
    """
    shape = (image.shape[0], image.shape[1], image.shape[2])
    whole = padded_shape(shape, model.crop, stride=model.net.stride)
    sums = _Sums(model, whole, body, dense=dense)
    pads = [v for old, new in zip(shape[::-1], whole[::-1], strict=True) for v in (0, new - old)]
    padded = F.pad(torch.from_numpy(image), pads, value=outside)
    inside = F.pad(torch.from_numpy(body), pads)
    for window, maps in _shown(model, padded, shape, overlap):
        sums.add(window, maps, window.weight * inside[window.box])
    return sums.features(shape)


class _Sums:
    """All that is gathered over the windows of a scan."""

    def __init__(
        self,
        model: TrainedModel,
        whole: tuple[int, int, int],
        body: NDArray[np.bool_],
        *,
        dense: bool,
    ) -> None:
        maps = map_shapes(model)
        self.moments = [Moments(one.channels) for one in maps]
        self.cells = Cells(whole, model.net.stride, sum(one.channels for one in maps))
        self.chosen = dense_map(maps)
        self.edge, channels = maps[self.chosen].stride, maps[self.chosen].channels
        shape = [n // self.edge for n in whole]
        self.planes = Planes(shape, channels, middle_of(body, self.edge))
        self.dense = Dense(shape, channels) if dense else None

    def add(self, window: Window, maps: Sequence[Tensor], inside: Tensor) -> None:
        """A window, its maps (C, d, h, w) and its weights within the body (D, H, W)."""
        weight = inside.to(maps[0].device)
        for moments, one in zip(self.moments, maps, strict=True):
            moments.add(one, cell_weights(weight, one))
        self.cells.add(maps, weight, window)
        shown, start = maps[self.chosen], [part.start // self.edge for part in window.box]
        share = cell_weights(window.weight.to(weight.device), shown) / self.edge**3
        self.planes.add(shown, share, start)
        if self.dense is not None:
            self.dense.add(shown, share, start)

    def features(self, shape: tuple[int, int, int]) -> Features:
        """What was gathered; shape: of the image, without what was put around it."""
        pooled = torch.cat([part for one in self.moments for part in one.mean_and_std()])
        cells = [-(-n // self.edge) for n in shape]
        dense = None if self.dense is None else self.dense.cut(cells)
        return Features(
            pooled.numpy().astype(np.float32),
            self.cells.averages(),
            self.planes.cut(cells),
            self.planes.through,
            self.edge,
            dense,
        )


def middle_of(body: NDArray[np.bool_], edge: int) -> tuple[int, int, int]:
    """The cell, `edge` voxels wide, in the middle of the box around a body."""
    box = box_around(body)
    assert box is not None, "a body is never empty"
    d, h, w = ((part.start + part.stop) // 2 // edge for part in box)
    return d, h, w


def _shown(
    model: TrainedModel, padded: Tensor, shape: tuple[int, int, int], overlap: float
) -> Iterator[tuple[Window, list[Tensor]]]:
    """Every window with its maps (C, d, h, w), on the device of the network."""
    most = max(1, VOXELS_AT_ONCE // int(np.prod(model.crop)))
    windows = weighted_windows(shape, model.crop, stride=model.net.stride, overlap=overlap)
    while some := list(islice(windows, most)):
        batch = torch.stack([padded[one.box] for one in some])[:, None].to(model.device)
        maps = [one.float() for one in scales_of(model.net, batch)]
        for row, window in enumerate(some):
            yield window, [one[row] for one in maps]
