"""Pretraining on one made-up scan."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from support.synthetic import Shape, image, nested, write_store

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, PresetName
from mass3d.pretext.task import TASKS, Cohort
from mass3d.training.config import FitConfig
from mass3d.training.fit import fit
from mass3d.views.draw import ViewConfig


def train(
    preset: PresetName,
    crop: Shape,
    config: FitConfig,
    *,
    hooks: tuple[Callable[..., None], ...] = (),
    within: AbstractContextManager[Any] | None = None,
) -> None:
    """The whole loop, views and averaging of the weights included, all pairs being of one scan.

    within: what the loop alone runs in, a profiler.
    """
    d, h, w = crop
    shape: Shape = 2 * d, 2 * h, 2 * w
    task = TASKS[PRESETS[preset].kind]
    with tempfile.TemporaryDirectory() as place:
        store = write_store(Path(place) / "store", image(shape), nested(shape, cell_vox=8))
        run = Path(place) / "run"
        cohort = Cohort([store.case("case")], crop, config.batch_size, 0, run, 1)
        views = ViewConfig.model_validate({**task.views, "across_share": 0})
        net = build_network(PRESETS[preset], seed=0)
        batches = task.batches(cohort, views)
        with within or nullcontext():
            fit(net, batches, task.step, config, run=run, facts={}, hooks=hooks)


def updates(preset: PresetName, crop: Shape, config: FitConfig) -> tuple[float, float]:
    """CPU and clock seconds of an update after the first, all pairs being of one scan."""
    marks: list[tuple[float, float]] = []

    def note(*_: object) -> None:
        marks.append((time.process_time(), time.perf_counter()))

    train(preset, crop, config.model_copy(update={"log_every": 1}), hooks=(note,))
    # the first step builds what the others reuse
    steps = config.steps - 1
    cpu, wall = ((last - first) / steps for first, last in zip(marks[0], marks[-1], strict=True))
    return cpu, wall
