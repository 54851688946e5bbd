"""Task encoding and whole steps of pretraining with the preset tiny."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from support.measure import Row, main, side_by_side
from support.synthetic import Shape, image, nested, write_store
from torch import Tensor

from mass3d.apps.pretrain import pair_step
from mass3d.model.build import build_network
from mass3d.model.incontext import InContextNet
from mass3d.model.presets import PRESETS
from mass3d.model.task_encoder import masked_mean
from mass3d.training.fit import FitConfig, fit
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker

K = 13


def measure(small: bool) -> Sequence[Row]:
    """Task encoding at two crops, then steps of 4 pairs at two crops."""
    encoded: list[Shape] = [(16, 16, 16)] if small else [(48, 64, 64), (128, 128, 128)]
    trained: list[Shape] = [(16, 16, 16)] if small else [(32, 48, 32), (48, 64, 64)]
    rows = [row for crop in encoded for row in encoding(crop)]
    return [*rows, *(row for crop in trained for row in training(crop, steps=2 if small else 6))]


def encoding(crop: Shape) -> list[Row]:
    """One reference with 13 masks; beside it, features upsampled to the masks' resolution."""
    net = InContextNet(PRESETS["tokens"]).eval()
    torch.manual_seed(0)
    scan = torch.randn(1, 1, *crop)
    masks = (torch.rand(1, K, *crop) > 0.5).float()
    with torch.no_grad():
        seconds = side_by_side(
            {
                "ours": lambda: net.encode_task(net.encode(scan), masks),
                "plain": lambda: encode_plainly(net, scan, masks),
            },
            repeats=1 if crop[0] > 48 else 3,
        )
    name = "x".join(map(str, crop))
    budget = "preset base: <= 5 s" if crop == (128, 128, 128) else ""
    what = f"encode {K} tasks, {name}"
    return [Row(what, seconds["ours"], "CPU-s", seconds["plain"], "features upsampled", budget)]


def encode_plainly(net: InContextNet, scan: Tensor, masks: Tensor) -> Tensor:
    """Averages over masks at full resolution, one scale after the other; the same network."""
    shape = masks.shape[2:]
    ring = F.max_pool3d(masks, 3, 1, 1) - masks
    parts = [masks.mean(dim=(2, 3, 4)).unsqueeze(-1)]
    for features in net.encoder(scan)[1:]:
        fine = F.interpolate(features, size=shape, mode="trilinear")
        parts += [masked_mean(fine, masks), masked_mean(fine, ring)]
        parts.append(fine.mean(dim=(2, 3, 4)).unsqueeze(1).expand(-1, K, -1))
    tokens: Tensor = net.task_encoder.mix(torch.cat(parts, dim=-1))
    return tokens


def training(crop: Shape, *, steps: int) -> list[Row]:
    """Updates of the whole loop, views and averaging of the weights included."""
    d, h, w = crop
    shape: Shape = 2 * d, 2 * h, 2 * w
    with tempfile.TemporaryDirectory() as place:
        store = write_store(Path(place) / "store", image(shape), nested(shape, cell_vox=8))
        case = store.case("case")
        net = build_network(PRESETS["tokens"], seed=0)
        batch = FitConfig().batch_size
        make = PairMaker([case], ViewConfig(), crop=crop, batch_size=batch, seed=0)
        marks: list[tuple[float, float]] = []

        def note(*_: object) -> None:
            marks.append((time.process_time(), time.perf_counter()))

        config = FitConfig(steps=steps + 1, log_every=1, precision="32-true")
        fit(net, make, pair_step, config, run=Path(place) / "run", facts={}, hooks=(note,))
    # the first step builds what the others reuse
    cpu, wall = ((last - first) / steps for first, last in zip(marks[0], marks[-1], strict=True))
    name = "x".join(map(str, crop))
    return [
        Row(f"one step of {batch} pairs, {name}, {K} masks", cpu, "CPU-s"),
        Row(f"the same on the clock, {torch.get_num_threads()} threads", wall, "s"),
        Row("the same", batch / wall, "samples/s"),
    ]


if __name__ == "__main__":
    main(__file__, measure)
