"""Predictions beside their labels: voxels counted and a picture drawn, each file read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mass3d.execution.faults import Fault
from mass3d.io.colours import value_colours
from mass3d.io.datasets.label_names import common_names
from mass3d.io.datasets.predictions import Prediction
from mass3d.metrics.cases import CaseCounts, Cases
from mass3d.pages.pictures import jpeg_uri
from mass3d.pages.result_pictures import compared_picture
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class CountJob:
    """A case to count."""

    files: Prediction
    tolerance_mm: float | None  # None: surfaces are not scored
    regions: Mapping[int, Sequence[int]] = field(default_factory=dict)  # as `label_overlaps`
    picture: bool = True  # whether one is drawn, which costs as much as counting


@dataclass(frozen=True)
class CountedCase:
    """What is known of a case."""

    counts: CaseCounts
    picture: str  # `data:` address; empty where none was asked for
    named: dict[Path, dict[str, int]]  # what the headers of both files call their values


@dataclass(frozen=True)
class CountedFolder:
    """A folder of predictions, counted."""

    found: dict[str, CountedCase]
    predicted: tuple[str, ...]  # cases, also those with faults
    faults: tuple[Fault, ...]

    @property
    def cases(self) -> Cases:
        """The counts of each."""
        return {name: one.counts for name, one in self.found.items()}


def count_case(job: CountJob) -> CountedCase:
    """Read prediction and label once, for counts, picture and names. Raises `DataError`."""
    files = job.files
    prediction, truth = files.read()
    counts = CaseCounts.of(
        prediction,
        truth,
        ignored=files.ignored,
        tolerance_mm=job.tolerance_mm,
        regions=job.regions,
    )
    drawn = _picture(job, prediction, truth) if job.picture else ""
    return CountedCase(counts, drawn, files.names())


def draw_case(job: CountJob) -> str:
    """The picture alone, of a case that was counted before. Raises `DataError`."""
    return _picture(job, *job.files.read())


def _picture(job: CountJob, prediction: Volume, truth: Volume) -> str:
    """The `data:` address."""
    counts = (np.bincount(one.voxels.ravel()) for one in (prediction, truth))
    values = {int(value) for one in counts for value in np.flatnonzero(one)} - {0}
    picture = compared_picture(
        prediction.voxels,
        truth.voxels,
        truth.spacing_mm,
        value_colours({*values, *(v for some in job.regions.values() for v in some)}),
        ignored=job.files.ignored,
    )
    return jpeg_uri(picture)


def names_in_headers(*folders: CountedFolder | None) -> dict[str, int] | None:
    """The structures as headers of label maps name them. Raises `DataError` where they differ."""
    every = [one for folder in folders if folder for one in folder.found.values()]
    tables = {path: names for one in every for path, names in one.named.items()}
    return common_names(tables, {value for one in every for value in one.counts.overlaps})
