"""Segment one prepared scan with the preset tiny: one reference, one and four structures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from support.measure import Row, cost, main
from support.synthetic import Shape, prepared

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.transfer.incontext import predict
from mass3d.transfer.task_file import Reference, Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.preparation import PreparationConfig, Prepared


def measure(small: bool) -> Sequence[Row]:
    """A volume of 160 voxels per axis in windows of 48 x 64 x 64 that overlap by half."""
    shape: Shape = (32, 32, 32) if small else (160, 160, 160)
    crop: Shape = (32, 32, 32) if small else (48, 64, 64)
    trained = TrainedModel(
        build_network(PRESETS["tiny"], seed=0).eval().requires_grad_(False),
        crop,
        PreparationConfig(spacing_mm=1.0, modality="mr"),
        "",
        torch.device("cpu"),
    )
    scan = prepared(shape)
    name, windows = "x".join(map(str, shape)), "x".join(map(str, crop))
    what = f"segment {name}, windows of {windows}"
    rows = []
    for structures in (4, 1):
        task = random_task(trained, structures)
        found = cost(partial(segment, trained, scan, task))
        rows.append(Row(f"{what}, {structures} structures", found.cpu_s, "CPU-s"))
        budget = "preset small: <= 30 s" if structures == 1 else ""
        rows.append(Row("the same on the clock", found.wall_s, "s", budget=budget))
        if structures == 4:
            rows.append(Row("memory of the same", found.gib, "GiB"))
    return rows


def segment(trained: TrainedModel, scan: Prepared, task: Task) -> None:
    """Go through all slabs, as `mass3d segment` does."""
    for _ in predict(trained, scan, task, overlap=0.5):
        pass


def random_task(trained: TrainedModel, structures: int) -> Task:
    """A task of one reference; what is in it does not matter for the time."""
    torch.manual_seed(0)
    crop = trained.crop
    with torch.no_grad():
        maps = trained.net.encode(torch.randn(1, 1, *crop))
        kept = trained.net.encode_task(maps, (torch.rand(1, structures, *crop) > 0.5).float())
    reference = Reference("made up", kept, torch.ones(structures, dtype=torch.bool))
    return Task((reference,), {str(value): value for value in range(1, structures + 1)}, model="")


if __name__ == "__main__":
    main(__file__, measure)
