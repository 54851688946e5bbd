"""Predictions beside their labels: voxels counted and a picture drawn, each file read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from mass3d.errors import DataError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import comparing_bytes
from mass3d.execution.ownership import RECORD
from mass3d.execution.pool import run_cases
from mass3d.inspection.label import count_values
from mass3d.io.colours import value_colours
from mass3d.io.datasets.dataset_json import find_dataset_json
from mass3d.io.datasets.label_names import Named, common_names, two_names
from mass3d.io.datasets.predictions import Prediction
from mass3d.metrics.cases import Absent, CaseCounts, Cases, Table, by_case, score_tables
from mass3d.metrics.scores import METRICS, Metric
from mass3d.pages.comparison import Compared, compared
from mass3d.pages.pictures import jpeg_uri
from mass3d.pages.result_pictures import compared_picture
from mass3d.transfer.results import structures_of_results
from mass3d.volume.volume import Volume

J = TypeVar("J")
R = TypeVar("R")
RESULTS: Final = "the results"
OTHERS: Final = "the other results"
LABELS: Final = "the labels"
SIDES: Final = (RESULTS, OTHERS, LABELS)
POOL_VOXELS: Final = 3e8  # fewer are counted here before a second process would have started


@dataclass(frozen=True)
class CountJob:
    """A case to count."""

    files: Prediction
    tolerance_mm: float | None  # None: surfaces are not scored
    lesion_overlap: float | None = None  # None: lesions are not counted
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

    def scored(
        self,
        structures: Mapping[str, int],
        metrics: Mapping[str, Metric],
        absent: Absent,
        *,
        where: Path,
    ) -> dict[str, Table]:
        """Metric -> (cases, structures). Raises `DataError` where nothing is scored."""
        tables = score_tables(self.cases, structures, metrics, absent)
        if np.isfinite(tables["dice"]).any():
            return tables
        first = f", the first: {self.faults[0].message}" if self.faults else ""
        raise DataError(
            where,
            found=f"nothing to score in {len(self.found)} cases, {len(self.faults)} faults{first}",
            expected="at least one prediction whose label shows a structure",
            fix="Check that the folders belong together, and the values of the structures.",
        )


def compared_folders(
    ours: CountedFolder,
    theirs: CountedFolder,
    tables: Mapping[str, Table],
    structures: Mapping[str, int],
    *,
    absent: Absent,
    names: tuple[str, str],
    seed: int,
) -> Compared:
    """Two folders compared, of which the first is scored: `tables`. names: of the folders."""
    metrics = {name: METRICS[name] for name in tables}
    other = score_tables(theirs.cases, structures, metrics, absent)
    here, there = (
        {name: by_case(table, folder.found, structures) for name, table in one.items()}
        for one, folder in ((tables, ours), (other, theirs))
    )
    return compared(here, there, list(structures), names=names, seed=seed)


def count_case(job: CountJob) -> CountedCase:
    """Read prediction and label once, for counts, picture and names. Raises `DataError`."""
    files = job.files
    prediction, truth = files.read()
    counts = CaseCounts.of(
        prediction,
        truth,
        ignored=files.ignored,
        tolerance_mm=job.tolerance_mm,
        lesion_overlap=job.lesion_overlap,
        regions=job.regions,
    )
    drawn = _picture(job, prediction, truth) if job.picture else ""
    return CountedCase(counts, drawn, files.names())


def draw_case(job: CountJob) -> str:
    """The picture alone, of a case that was counted before. Raises `DataError`."""
    return _picture(job, *job.files.read())


def _picture(job: CountJob, prediction: Volume, truth: Volume) -> str:
    """The `data:` address."""
    counts = (count_values(one.voxels) for one in (prediction, truth))
    values = {int(value) for one in counts for value in np.flatnonzero(one)} - {0}
    picture = compared_picture(
        prediction.voxels,
        truth.voxels,
        truth.spacing_mm,
        value_colours({*values, *(v for some in job.regions.values() for v in some)}),
        ignored=job.files.ignored,
    )
    return jpeg_uri(picture)


@dataclass(frozen=True)
class Pairs:
    """Predictions with their labels, and how they are gone through."""

    files: Mapping[str, Prediction]
    tolerance_mm: float | None  # as in `CountJob`
    lesion_overlap: float | None = None  # likewise
    regions: Mapping[int, Sequence[int]] = field(default_factory=dict)  # likewise
    workers: int | None = None
    scheduler: str | None = None

    def count(self, *, pictures: bool) -> CountedFolder:
        """Every case, with pictures or without; what cannot be counted is a fault."""
        jobs = {name: self._job(name, picture=pictures) for name in self.files}
        outcomes = self.on_each(count_case, jobs, title="evaluate")
        found = {name: one for name, one in outcomes.items() if isinstance(one, CountedCase)}
        return CountedFolder(found, tuple(self.files), faults_of(outcomes))

    def draw(self, cases: Iterable[str]) -> dict[str, str]:
        """The pictures of some cases that were counted before."""
        jobs = {name: self._job(name, picture=True) for name in cases}
        made = self.on_each(draw_case, jobs, title="draw")
        return {name: one for name, one in made.items() if isinstance(one, str)}

    def on_each(
        self, function: Callable[[J], R], jobs: Mapping[str, J], *, title: str
    ) -> dict[str, R | Fault]:
        """`run_cases` on a job for each of some cases; here, where there is little to read."""
        sizes = [self.files[name].voxels for name in jobs if self.files[name].label]
        here = 1 if sum(sizes) < POOL_VOXELS and self.scheduler is None else None
        return run_cases(
            function,
            jobs,
            workers=self.workers or here,
            scheduler=self.scheduler,
            title=title,
            bytes_each=comparing_bytes(
                sizes,
                surfaces=self.tolerance_mm is not None,
                lesions=self.lesion_overlap is not None,
            ),
        )

    def _job(self, name: str, *, picture: bool) -> CountJob:
        asked = (self.tolerance_mm, self.lesion_overlap)
        return CountJob(self.files[name], *asked, self.regions, picture)


def names_in_headers(*folders: CountedFolder | None) -> dict[str, int] | None:
    """The structures as headers of label maps name them. Raises `DataError` where they differ."""
    every = [one for folder in folders if folder for one in folder.found.values()]
    values = {value for one in every for value in one.counts.overlaps}
    return common_names(tables_in_headers(*folders), values)


def tables_in_headers(*folders: CountedFolder | None) -> dict[Path, dict[str, int]]:
    """What headers of label maps call their values, by file."""
    every = [one for folder in folders if folder for one in folder.found.values()]
    return {path: names for one in every for path, names in one.named.items()}


def odd_names(
    structures: Mapping[str, int],
    places: Mapping[str, Path],
    headers: Mapping[Path, Mapping[str, int]],
) -> tuple[str, ...]:
    """A sentence for each value that predictions and labels call by two names.

    structures: those that are scored, as dataset.json beside the labels names them, or else the
    record of the results. places: the folders, as RESULTS, OTHERS and LABELS. headers: names in
    headers, by file. Raises `DataError` where a name has another value there.
    """
    side = LABELS if find_dataset_json(places[LABELS]) else RESULTS
    records = ((one, places[one], structures_of_results(places[one])) for one in places)
    told = [
        *(Named(path, _side(path, places), table) for path, table in headers.items()),
        *(
            Named(folder / RECORD, one, found.values)
            for one, folder, found in records
            if one not in (side, LABELS) and found is not None and not found.regions
        ),
    ]
    return two_names(Named(places[side], side, structures), told)


def _side(path: Path, places: Mapping[str, Path]) -> str:
    """Whose file it is. The folder of labels comes last: predictions may lie in it."""
    return next(one for one in SIDES if one in places and path.is_relative_to(places[one]))
