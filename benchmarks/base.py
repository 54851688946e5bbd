"""The preset base as the release was measured: a step of pretraining, and a case in context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from support.measure import Row, cost, main
from support.networks import untrained
from support.synthetic import Shape, prepared
from support.training import updates

from mass3d.model.presets import PRESETS, PresetName
from mass3d.training.config import FitConfig
from mass3d.transfer.incontext import encode_reference, predict
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.views.draw import ViewConfig
from mass3d.volume.preparation import PreparationConfig


def measure(small: bool) -> Sequence[Row]:
    """A case of 160^3 and a step at 64^3; small, of the preset tokens, which works like base."""
    # first the case, whose memory would else be what the step has left
    return [*case(small=small), *step(small=small)]


def step(*, small: bool) -> list[Row]:
    """One update of one pair, its views included, in 32 bits as the release's."""
    preset: PresetName = "tokens" if small else "base"
    edge = 32 if small else 64
    recipe = {**PRESETS[preset].recipe.plain(), "steps": 2, "batch_size": 1}
    config = FitConfig.model_validate({**recipe, "precision": "32-true"})
    cpu, wall = updates(preset, (edge,) * 3, config)
    what = f"one step of one pair, {edge}^3, {ViewConfig().num_masks} masks, {preset}, 32 bits"
    return [
        Row(what, cpu, "CPU-s", budget="<= 20 s", limit=20),
        Row("the same on the clock", wall, "s"),
    ]


def case(*, small: bool) -> list[Row]:
    """The task of one reference and a scan by it, in windows of which half is shared."""
    preset: PresetName = "tokens" if small else "base"
    edge, window = (48, 32) if small else (160, 128)
    preparation = PreparationConfig(spacing_mm=1.0, modality="mr")
    trained = untrained(preset, (edge,) * 3, preparation, crop=(window,) * 3)
    found = cost(lambda: answer(trained, (edge,) * 3))
    what = f"a case of {edge}^3 by one reference and one structure, {preset}, 32 bits"
    return [
        Row(what, found.cpu_s, "CPU-s", budget="<= 200 s", limit=200),
        Row("the same on the clock", found.wall_s, "s"),
        Row("memory of the same, beside the weights", found.gib, "GiB"),
    ]


def answer(trained: TrainedModel, shape: Shape) -> None:
    """Reference and scan are alike, which costs the same."""
    scan, label = prepared(shape), np.zeros(shape, np.uint8)
    label[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    reference = encode_reference(trained, scan, label, [1], name="made up")
    task = Task((reference,), {"cube": 1}, model="")
    for _ in predict(trained, scan, task, overlap=0.5):
        pass


if __name__ == "__main__":
    main(__file__, measure)
