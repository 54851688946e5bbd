"""Segment a CT of 512 x 512 x 600 voxels by a task of 20 structures: alignment, heads, output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from support.measure import Row, cost, main

from mass3d.metrics.overlap import label_overlaps
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.phantom import draw_phantom
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.resample import resample_image, resample_label
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
    phantom = draw_phantom(seed=1, index=index)
    source = SourceGrid.nearest(phantom.image.shape, phantom.affine)
    old = source.grid
    shape = [round(size / edge) for size, edge in zip(SIZE_MM, edges_mm, strict=True)]
    d, h, w = (n * e / m for n, e, m in zip(old.shape, old.spacing_mm, shape, strict=True))
    new = old.resampled((d, h, w))
    image, label = (
        np.ascontiguousarray(source.to_canonical(x)) for x in (phantom.image, phantom.label)
    )
    fine = resample_image(image, old, new)
    fine += 15 * np.random.default_rng(index).standard_normal(fine.shape, np.float32)
    cut = resample_label(in_slabs(np.ascontiguousarray(label)), old, new)
    return (
        Volume.from_array(fine, spacing_mm=edges_mm),
        Volume.from_array(cut, spacing_mm=edges_mm),
    )


def in_slabs(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every organ cut into slabs of equal height: values from 1 on."""
    cut = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        inside = label == value
        rows = np.flatnonzero(inside.any((1, 2)))
        height = np.arange(len(label)) - rows[0]
        slab = np.clip(height * SLABS // (rows[-1] - rows[0] + 1), 0, SLABS - 1)
        cut[inside] = ((value - 1) * SLABS + 1 + slab[:, None, None] + 0 * label)[inside]
    return cut


def names(values: Sequence[int]) -> dict[str, int]:
    """A name for each value."""
    return {f"part {value}": value for value in values}


if __name__ == "__main__":
    main(__file__, measure)
