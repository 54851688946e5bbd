"""Dice of a finetuned model on labelled scans that it did not learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from mass3d.config import Config
from mass3d.execution.summary import counted
from mass3d.files import read_json, write_json
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.regions import Targets
from mass3d.metrics.overlap import label_overlaps
from mass3d.metrics.statistics import bootstrap_mean_of_means
from mass3d.transfer.finetuned.scans import fingerprint, read_labelled, values_of
from mass3d.views.labelled import UNKNOWN
from mass3d.volume.volume import Volume

SCORES = "validation.json"


class Finder(Protocol):
    """What can be scored: it finds structures, called by name and value, in a scan."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides what it finds."""

    @property
    def structures(self) -> Mapping[str, int]:
        """Name -> value."""

    @property
    def targets(self) -> Targets:
        """What is looked for: the structures, or regions of several values."""

    def segment(self, scan: Any) -> Volume:
        """A label map on the grid of the scan, or of the first of several channels in a tuple."""


class Scores(Config):
    """Dice on the grid of each scan; a structure that a label does not show is not scored in it."""

    model: str
    """Fingerprint of the weights."""
    scans: str = ""
    """Fingerprint of the scans and their labels; empty in files of earlier versions."""
    cases: dict[str, dict[str, float]]
    """Case -> structure -> Dice."""
    mean: float | None = None
    """Mean over structures of their means over cases; null where nothing was scored."""
    ci95: tuple[float | None, float | None] = (None, None)
    """Its bootstrap interval over cases; null for one case."""
    odd: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Sentences about what was scored."""

    def in_words(self) -> str:
        """A sentence to be put behind another one; nothing where nothing was scored."""
        if self.mean is None:
            return ""
        low, high = self.ci95
        interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        return f" Dice {self.mean:.3f}{interval} on {counted(len(self.cases), 'scan')} held out."


def scores_in(
    run: Path,
    segmenter: Finder,
    cases: Sequence[CaseFile],
    *,
    seed: int,
    advance: Callable[[int], None],
) -> Scores:
    """The scores that a run folder holds, measured and written first where they are of others."""
    file = run / SCORES
    found = read_scores(file, model=segmenter.fingerprint, cases=cases)
    if found is None:
        found = score(segmenter, cases, seed=seed, advance=advance)
        write_json(file, found.plain())
    return found


def score(
    segmenter: Finder,
    cases: Sequence[CaseFile],
    *,
    seed: int,
    advance: Callable[[int], None],
) -> Scores:
    """Segment every case and compare it with its label. Raises `DataError` for a bad one."""
    found = {}
    for done, case in enumerate(cases, start=1):
        found[case.case_id] = _dice(segmenter, case)
        advance(done)
    names = list(segmenter.structures)
    table = np.array([[dice.get(name, math.nan) for name in names] for dice in found.values()])
    whole = bootstrap_mean_of_means(table.reshape(-1, len(names)), seed=seed)
    low, high = (_known(whole.low), _known(whole.high))
    return Scores(
        model=segmenter.fingerprint,
        scans=fingerprint(cases),
        cases=found,
        mean=_known(whole.mean),
        ci95=(low, high),
    )


def read_scores(file: Path, *, model: str, cases: Sequence[CaseFile]) -> Scores | None:
    """The scores of exactly this model, these scans and labels, if the file holds them."""
    try:
        scores = Scores.model_validate(read_json(file))
    except (OSError, ValueError, RecursionError):
        return None
    same = scores.model == model and list(scores.cases) == [case.case_id for case in cases]
    return scores if same and scores.scans == fingerprint(cases) else None


def _dice(segmenter: Finder, case: CaseFile) -> dict[str, float]:
    targets = segmenter.targets
    scan = read_labelled(case, targets)
    truth = values_of(scan, targets)
    found = segmenter.segment(scan.volumes).voxels
    known = scan.numbers != UNKNOWN
    overlaps = label_overlaps(found[known], truth[known], regions=targets.by_value)
    seen = targets.table @ scan.visible
    return {
        name: overlaps[value].dice
        for (name, value), here in zip(targets.values.items(), seen, strict=True)
        if here
    }


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
