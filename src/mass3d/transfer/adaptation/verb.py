"""Adapt a task file's task to cases on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.source import seen_hash
from mass3d.io.read import read_volume
from mass3d.transfer.adaptation.adapt import Outcome, ScanToRead, adapt
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, require_model, require_scans
from mass3d.volume.doubts import require_scan
from mass3d.volume.preparation import Prepared, prepare_volume


def adapt_task(
    segmenter: Segmenter,
    task: Task,
    cases: Sequence[CaseFile],
    folder: Path,
    config: AdaptationConfig,
    *,
    label_maps: bool = False,
) -> Outcome:
    """The part of a task, adapted to cases; see `adapt`. Answers of other tasks are not used.

    Raises `ModelError` for a task of another model, or one that cannot be aligned.
    """
    require_model("the task", task, segmenter.trained)
    part = require_scans("the task", task)
    scans = {
        case.case_id: ScanToRead(
            partial(seen_hash, case), partial(_read, segmenter, case, label_maps=label_maps)
        )
        for case in cases
    }
    place = folder / task.fingerprint[:16]
    encoder = segmenter.encoder_of(part)
    return adapt(part, task.reference_names, scans, place, config, encoder=encoder)


def _read(segmenter: Segmenter, case: CaseFile, *, label_maps: bool) -> Prepared:
    volume = read_volume(case.scan)
    require_scan(volume, label_maps=label_maps)
    return prepare_volume(volume, segmenter.trained.preparation)
