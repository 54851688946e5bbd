"""Task encoding with the preset tokens, and whole steps of pretraining with tiny beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from support.measure import Row, main, side_by_side
from support.synthetic import Shape
from support.training import updates
from torch import Tensor

from mass3d.model.incontext import InContextNet
from mass3d.model.presets import TOKENS
from mass3d.model.task_encoder import masked_mean
from mass3d.training.config import FitConfig
from mass3d.training.processor import has_16_bits

K = 13


def measure(small: bool) -> Sequence[Row]:
    """Task encoding at two crops, then steps of 4 pairs at two crops."""
    encoded: list[Shape] = [(16, 16, 16)] if small else [(48, 64, 64), (128, 128, 128)]
    trained: list[Shape] = [(16, 16, 16)] if small else [(32, 48, 32), (48, 64, 64)]
    rows = [row for crop in encoded for row in encoding(crop)]
    return [*rows, *(row for crop in trained for row in training(crop, steps=2 if small else 6))]


def encoding(crop: Shape) -> list[Row]:
    """One reference with 13 masks; beside it, features upsampled to the masks' resolution."""
    net = InContextNet(TOKENS).eval()
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
    config = FitConfig(steps=steps + 1)
    batch = config.batch_size
    cpu, wall = updates("tiny", crop, config)
    tokens, _ = updates("tokens", crop, config)
    name = "x".join(map(str, crop))
    what = f"one step of {batch} pairs, {name}"
    budget = "<= 1.4 CPU-s" if crop == (48, 64, 64) else ""
    rows = [
        Row(what, cpu, "CPU-s", tokens, f"preset tokens, {K} masks", budget),
        Row(f"the same on the clock, {torch.get_num_threads()} threads", wall, "s"),
        Row("the same", batch / wall, "samples/s"),
    ]
    if has_16_bits() and crop[-1] > 16:  # on maps of two voxels torch's bfloat16 is wrong
        in_32, in_16 = (
            updates("tiny", crop, config.model_copy(update={"precision": precision}))[0]
            for precision in ("32-true", "bf16-mixed")
        )
        rows.append(Row(f"{what}, float32", in_32, "CPU-s", in_16, "bfloat16"))
    return rows


if __name__ == "__main__":
    main(__file__, measure)
