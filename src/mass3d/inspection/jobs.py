"""The cases of a cohort as jobs to measure, each with the names of its structures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mass3d.errors import DataError
from mass3d.execution.faults import Fault, faults_of
from mass3d.inspection.case import InspectionJob
from mass3d.inspection.label import Names
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.dataset_json import read_dataset_json, read_ignored
from mass3d.io.names import plain_name
from mass3d.volume.geometry import Grid
from mass3d.volume.volume import Modality

FILE_VOXELS = 5e5  # what a file costs beside its voxels, in voxels
POOL_VOXELS = 1e9  # fewer are measured here before other processes would have started


def workers_here(cases: Sequence[CaseFile], grids: Sequence[Grid]) -> int | None:
    """1 where this process alone is done sooner, else None."""
    files = sum(1 + (len(case.label.paths) if case.label else 0) for case in cases)
    voxels = sum(math.prod(grid.shape) for grid in grids) / max(len(grids), 1)
    return 1 if files * (voxels + FILE_VOXELS) < POOL_VOXELS else None


def inspection_jobs(
    cases: Sequence[CaseFile],
    inputs: Sequence[Path],
    *,
    modality: Modality | Literal["auto"],
    spacing_mm: float,
) -> tuple[dict[str, InspectionJob], tuple[Fault, ...]]:
    """Case -> what to measure; and the faults of the files that name structures, one for each."""
    tables = {case.label.table for case in cases if case.label}
    known = {table: _names(table, inputs) for table in sorted(filter(None, tables))}
    jobs = {}
    for case in cases:
        names = known.get(case.label.table) if case.label and case.label.table else None
        jobs[case.case_id] = InspectionJob(
            case=case,
            file=below(inputs, case.path),
            modality=modality,
            spacing_mm=spacing_mm,
            names=None if isinstance(names, Fault) else names,
        )
    return jobs, faults_of(known)


def _names(table: Path, inputs: Sequence[Path]) -> Names | Fault:
    try:
        return Names(read_dataset_json(table), read_ignored(table.parent))
    except DataError as error:
        return Fault(below(inputs, table), str(error))


def below(inputs: Sequence[Path], path: Path) -> str:
    """A file as seen from the folder that was given, wherever that lies."""
    for root in inputs:
        if path.is_relative_to(root) and path != root:
            return plain_name(path.relative_to(root).as_posix())
    return plain_name(path.name)
