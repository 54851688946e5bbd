"""Make training samples on the CPU: read, warp, change intensities, render 13 masks twice."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from support.measure import Row, cpu_seconds, main, memory_gib
from support.synthetic import Shape, image, nested, write_store

from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker

SAMPLES = 4  # drawn anew in every repetition


def measure(small: bool) -> Sequence[Row]:
    """Pairs of views of a volume with thousands of masks in one layer, at three crops."""
    shape: Shape = (40, 48, 48) if small else (160, 192, 192)
    crops: list[Shape] = [(16, 16, 16)] if small else [(32, 48, 32), (48, 64, 64), (128, 128, 128)]
    with tempfile.TemporaryDirectory() as place:
        masks = nested(shape, cell_vox=12)
        case = write_store(Path(place) / "store", image(shape), masks).case("case")
        return [row for crop in crops for row in views(case, crop, num_masks=len(masks))]


def views(case: StoredCase, crop: Shape, *, num_masks: int) -> list[Row]:
    """Time and memory of one pair."""
    make = PairMaker([case], ViewConfig(), crop=crop, batch_size=1, seed=0)
    step = count()

    def work() -> None:
        for _ in range(SAMPLES):
            make(next(step), torch.device("cpu"))

    memory = memory_gib(work)
    seconds = cpu_seconds(work, repeats=2) / SAMPLES
    name = "x".join(map(str, crop))
    budgets = ("<= 0.5 CPU-s", "<= 0.3 GiB") if crop == (128, 128, 128) else ("", "")
    return [
        Row(f"views of {name}, 13 of {num_masks} masks", seconds, "CPU-s", budget=budgets[0]),
        Row(f"memory, views of {name}", memory, "GiB", budget=budgets[1]),
    ]


if __name__ == "__main__":
    main(__file__, measure)
