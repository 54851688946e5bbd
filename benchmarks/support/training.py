"""Pretraining on one made-up scan."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from support.synthetic import Shape, image, nested, write_store

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, PresetName
from mass3d.pretext.task import TASKS, Batches, Cohort
from mass3d.store.reader import Store
from mass3d.training.config import FitConfig
from mass3d.training.fit import fit
from mass3d.views.draw import ViewConfig

CPU = torch.device("cpu")
Hooks = tuple[Callable[..., None], ...]


def train(
    preset: PresetName,
    crop: Shape,
    config: FitConfig,
    *,
    hooks: Hooks = (),
    within: AbstractContextManager[Any] | None = None,
) -> None:
    """The whole loop, views and averaging of the weights included, all pairs being of one scan.

    within: what the loop alone runs in, a profiler.
    """
    with one_scan(crop) as store:
        train_on(store, preset, crop, config, hooks=hooks, within=within)


@contextmanager
def one_scan(crop: Shape) -> Iterator[Store]:
    """A store of one scan, twice as long along each axis as the views that are to be drawn."""
    d, h, w = crop
    shape: Shape = 2 * d, 2 * h, 2 * w
    cell = max(8, min(crop) // 8)  # that large views have no more masks than small ones
    with tempfile.TemporaryDirectory() as place:
        yield write_store(Path(place) / "store", image(shape), nested(shape, cell_vox=cell))


def train_on(
    store: Store,
    preset: PresetName,
    crop: Shape,
    config: FitConfig,
    *,
    hooks: Hooks = (),
    within: AbstractContextManager[Any] | None = None,
    device: torch.device = CPU,
    made_once: bool = False,
) -> None:
    """As `train`, on what `one_scan` made. made_once: every step takes the same batch."""
    task = TASKS[PRESETS[preset].kind]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        cohort = Cohort([store.case("case")], crop, config.batch_size, 0, run, 1)
        views = ViewConfig.model_validate({**task.views, "across_share": 0})
        net = build_network(PRESETS[preset], seed=0)
        batches = task.batches(cohort, views)
        if made_once:
            batches = the_first(batches, device)
        with within or nullcontext():
            fit(net, batches, task.step, config, run=run, facts={}, hooks=hooks, device=device)


def the_first(batches: Batches, device: torch.device) -> Batches:
    """The same batch whatever the step."""
    batch = batches(0, device)
    return lambda number, device: batch


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
