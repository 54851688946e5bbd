"""A case of a store as files, each on the exact grid of its scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.files import csv_text, write_text
from mass3d.io.datasets.regions import Targets
from mass3d.io.write import write_image, write_label
from mass3d.masks.layers import MaskSet
from mass3d.store.reader import StoredCase
from mass3d.volume.box import whole_box
from mass3d.volume.resample import resample_image, resample_label

COLUMNS = ("mask", "layer", "first", "last", "parent", "voxels", "ml", "score", "engine")


@dataclass(frozen=True)
class Job:
    """A case, where its files go, and the masks that get a file of their own."""

    case: StoredCase
    output: Path
    masks: tuple[int, ...]  # rows of the table


@dataclass(frozen=True)
class Done:
    """What was written of it."""

    files: tuple[str, ...]
    clipped: tuple[float, float]  # the range that is left of its intensities


def extract_case(job: Job) -> Done:
    """Write the files of one case; raises `StoreError` for a mask that is not there."""
    case, output = job.case, job.output
    _require_masks(case, job.masks)
    files: list[str] = []

    def place(what: str) -> Path:
        files.append(f"{case.case_id}_{what}")
        return output / files[-1]

    image = case.intensity.undo(case.read_image())
    image = resample_image(image, case.grid, case.source.grid)
    write_image(place("image.nii.gz"), image, case.source)
    masks = _on_source(case)
    for number, ranks in enumerate(masks.ranks):
        names = Targets(masks.table.value_names(number)).header
        write_label(place(f"layer{number}.nii.gz"), ranks, case.source, names=names)
    for row in job.masks:
        names = Targets({f"mask {row}": 1}).header
        write_label(place(f"mask{row}.nii.gz"), _mask(masks, row), case.source, names=names)
    write_text(place("masks.csv"), _csv(masks, voxel_ml=case.source.grid.voxel_ml))
    return Done(tuple(files), (case.intensity.low, case.intensity.high))


def _require_masks(case: StoredCase, rows: tuple[int, ...]) -> None:
    absent = [row for row in rows if row >= len(case.table)]
    if absent:
        raise StoreError(
            case.folder,
            found=f"no mask {', '.join(map(str, absent))}",
            expected=f"rows from 0 to {len(case.table) - 1}",
            fix="Ask for fewer masks; without any, the table of all is written.",
        )


def _on_source(case: StoredCase) -> MaskSet:
    """The masks on the grid of the scan; sizes and boxes of their table are still the store's."""
    layers = [resample_label(ranks, case.grid, case.source.grid) for ranks in case.read_layers()]
    return MaskSet(np.stack(layers), case.table)


def _mask(masks: MaskSet, row: int) -> NDArray[np.bool_]:
    return masks.inside(row, whole_box(masks.shape))


def _csv(masks: MaskSet, *, voxel_ml: float) -> str:
    """The table of the masks; sizes are those in the written layers."""
    table = masks.table
    voxels = table.count(masks.ranks)  # 0 for one that is too small for this grid
    numbers = (table.layer, table.first, table.last, table.parent, voxels)
    rows = (
        [
            row,
            *(int(column[row]) for column in numbers),
            f"{voxels[row] * voxel_ml:.6g}",
            f"{table.score[row]:.6g}",
            table.engine[row],
        ]
        for row in range(len(table))
    )
    return csv_text(COLUMNS, rows)
