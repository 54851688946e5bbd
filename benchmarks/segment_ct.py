"""Segment a CT of 512 x 512 x 600 voxels by a task of 20 structures: alignment, heads, output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from support.measure import Row, cost, main
from support.synthetic import stretched

from mass3d.metrics.overlap import label_overlaps
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

SIZE_MM = (600.0, 410.0, 410.0)  # of an adult's trunk with its arms
SLABS = 5  # that each of the four organs is cut into, from foot to head
SPACING_MM = 2.0


def measure(small: bool) -> Sequence[Row]:
    """Two phantoms of other anatomies, stretched to the size of adults."""
    edges_mm = (10.0, 9.0, 9.0) if small else (1.0, 0.8, 0.8)
    spacing_mm = 8.0 if small else SPACING_MM
    reference, marked = adult(2, (spacing_mm,) * 3)
    scan, truth = adult(4, edges_mm)
    segmenter = Segmenter(
        TrainedModel(
            build_network(PRESETS["tiny"], seed=0).eval().requires_grad_(False),
            (48, 64, 64),
            PreparationConfig(spacing_mm=spacing_mm, modality="ct"),
            "",
            torch.device("cpu"),
        )
    )
    values = np.unique(marked.voxels[marked.voxels > 0]).tolist()
    tasks: list[Task] = []
    answers: list[Volume] = []
    made = cost(lambda: tasks.append(segmenter.task([reference], [marked], names(values))))
    found = cost(lambda: answers.append(segmenter.segment(scan, tasks[0])))
    shape = "x".join(map(str, reversed(scan.grid.shape)))
    what = f"segment a CT of {shape} voxels, {len(values)} structures at {spacing_mm:g} mm"
    dice = [one.dice for one in label_overlaps(answers[0].voxels, truth.voxels).values()]
    return [
        Row(f"make a task of {len(values)} structures", made.cpu_s, "CPU-s", budget="<= 30 CPU-s"),
        Row(what, found.cpu_s, "CPU-s"),
        Row("the same on the clock", found.wall_s, "s", budget="<= 60 s"),
        Row("memory of the same, beside the scan", found.gib, "GiB", budget="<= 4 GiB"),
        Row("the same", float(np.mean(dice)), "mean Dice"),
    ]


def adult(index: int, edges_mm: tuple[float, float, float]) -> tuple[Volume, Volume]:
    """A phantom and its label map, stretched to the size of an adult, with fresh noise."""
    d, h, w = (round(size / edge) for size, edge in zip(SIZE_MM, edges_mm, strict=True))
    return stretched(index, (d, h, w), edges_mm, slabs=SLABS)


def names(values: Sequence[int]) -> dict[str, int]:
    """A name for each value."""
    return {f"part {value}": value for value in values}


if __name__ == "__main__":
    main(__file__, measure)
