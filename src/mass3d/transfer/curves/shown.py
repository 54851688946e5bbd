"""A point of a curve without training: the labelled scans become the references of a task.

The task answers alone, or together with the model that was finetuned on the same scans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mass3d.execution.summary import first_of
from mass3d.files import text_hash, write_json
from mass3d.io.datasets.regions import Targets
from mass3d.transfer.finetuned.mixing import POWER
from mass3d.transfer.finetuned.scans import Split, fingerprint
from mass3d.transfer.finetuned.scores import SCORES, Scores, read_scores, score
from mass3d.transfer.finetuned.segmenter import load_finetuned
from mass3d.transfer.finetuned.taught import nothing_left, task_of
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import read_run
from mass3d.transfer.tuning.settings import DEFAULT as TUNING
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Shown:
    """A task and the model that is asked with it, as a finetuned model is asked alone."""

    fingerprint: str
    targets: Targets
    segmenter: Segmenter | None = field(repr=False)  # None finds nothing
    task: Task | None = field(repr=False)  # None: a finetuned model is asked alone

    @property
    def structures(self) -> Mapping[str, int]:
        """Name -> value."""
        return self.targets.values

    def segment(self, scan: Any) -> Volume:
        """The label map of a scan, or of the first of several channels, on its grid."""
        if self.segmenter is None:
            first: Volume = scan[0] if isinstance(scan, tuple) else scan
            return first.with_voxels(np.zeros(first.grid.shape, np.uint16))
        return self.segmenter.segment(scan, self.task)


def scores_of_task(
    folder: Path,
    run: Path,
    parts: Split,
    targets: Targets,
    *,
    seed: int,
    device: str,
    advance: Callable[[int], None],
    beside: Path | None = None,
) -> Scores:
    """Dice of a task of the scans to learn from, as the folder holds it or measured now.

    beside: a run that was finetuned from `run`, with which the task answers. What none of the scans
    shows on the model's grid is no part of the task, and not found; where that is everything, it
    is told. Raises `ModelError` for a network that never learned to match, `DataError` for a bad
    scan.
    """
    made_of = [read_run(run)[2], fingerprint(parts.training), targets.values, TUNING.plain()]
    tuned = None if beside is None else load_finetuned(beside, device=device)
    model = text_hash([*made_of, *([] if tuned is None else [tuned.fingerprint, POWER])])
    found = read_scores(folder / SCORES, model=model, cases=parts.validation)
    if found is None:
        segmenter = Segmenter.load(run, device=device)
        task = task_of(segmenter, parts.training, targets)
        finder = Shown(model, targets, tuned or (segmenter if task else None), task)
        found = score(finder, parts.validation, seed=seed, advance=advance)
        if task is None:
            found = found.model_copy(update={"odd": (_empty(parts, segmenter, tuned),)})
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SCORES, found.plain())
    return found


def _empty(parts: Split, segmenter: Segmenter, tuned: Segmenter | None) -> str:
    """A sentence about labelled scans that no task can be made of."""
    instead = "nothing is found" if tuned is None else "the finetuned model answers alone"
    shown = first_of([case.case_id for case in parts.training])
    return f"no task can be made of {shown}, as there is {nothing_left(segmenter)}: {instead}"
