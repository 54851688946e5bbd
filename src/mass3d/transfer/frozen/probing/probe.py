"""Cross-validation: every case is asked of by heads that have not seen its patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.execution.progress import progress
from mass3d.transfer.frozen.folder import EmbeddingsFolder
from mass3d.transfer.frozen.probing.attentive import Cells, attentive
from mass3d.transfer.frozen.probing.folds import Fold, Learning, folds_of, learning
from mass3d.transfer.frozen.probing.heads import ROW_HEADS, Told, by_frequency
from mass3d.transfer.frozen.probing.labels import Target
from mass3d.transfer.frozen.scan import HISTOGRAM, PRETRAINED, RADIOMICS, SIZE, UNTRAINED

SOURCES: Final = (PRETRAINED, UNTRAINED, HISTOGRAM, SIZE, RADIOMICS)
WITH_CELLS: Final = (PRETRAINED, UNTRAINED)
ATTENTIVE: Final = "attentive"
EQUAL_DIGITS: Final = 12  # of an answer: those that are alike so far differ by rounding alone


@dataclass(frozen=True)
class Source:
    """Features of some cases, in their order."""

    name: str
    rows: NDArray[np.float64]  # (N, F)
    cells: tuple[Cells, ...] = ()  # (n, C) of every case, where the source has a map


@dataclass(frozen=True)
class Said:
    """What a head on a source says of all cases, each asked of in the fold that it is not in."""

    source: str
    head: str
    answers: NDArray[np.float64]  # (N, classes) probabilities, or (N, 1) numbers
    balanced: NDArray[np.float64]  # the same, as if all classes were equally frequent
    chosen: tuple[float, ...]  # by the inner folds, for every fold

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) class numbers, as if all were equally frequent; of numbers zeros."""
        return np.asarray(self.balanced.argmax(axis=1), np.int64)


@dataclass(frozen=True)
class Probed:
    """A target, who it was asked of, and what was said."""

    target: Target
    patients: NDArray[np.str_]  # (N,)
    fold: NDArray[np.int64]  # (N,): in which each case was asked of
    said: tuple[Said, ...]


@dataclass
class _Gathered:
    """Answers of a head, fold by fold."""

    answers: NDArray[np.float64]
    balanced: NDArray[np.float64]
    chosen: list[float] = field(default_factory=list)

    def add(self, fold: Fold, learned: Learning, told: Told) -> None:
        self.answers[fold.test] = by_frequency(told.answers, learned)
        self.balanced[fold.test] = told.answers.round(EQUAL_DIGITS)
        self.chosen.append(told.chosen)


def read_sources(folder: EmbeddingsFolder, cases: Sequence[str]) -> tuple[Source, ...]:
    """The features of some cases. Raises `DataError` where those of one are damaged."""
    kept = [folder.arrays(case) for case in cases]
    return tuple(
        Source(
            name,
            np.stack([np.asarray(one[name], np.float64) for one in kept]),
            tuple(np.asarray(one[f"{name}_cells"], np.float16) for one in kept)
            if name in WITH_CELLS
            else (),
        )
        for name in SOURCES
        if name in kept[0]  # radiomics is of a part of a scan alone
    )


def cross_validate(
    target: Target,
    sources: Sequence[Source],
    patients: NDArray[np.str_],
    *,
    folds: int,
    seed: int,
    where: str,
) -> Probed:
    """Ask every head on every source of every case of a target; errors of `folds_of`."""
    made = folds_of(target, patients, folds=folds, seed=seed, where=where)
    width, count = max(1, len(target.classes)), len(patients)
    asked = [(one, head) for one in sources for head in _heads(one)]
    gathered = [_Gathered(*np.zeros((2, count, width))) for _ in asked]
    number = np.zeros(count, np.int64)
    with progress(f"probe {target.name}", len(made)) as advance:
        for done, fold in enumerate(made, start=1):
            number[fold.test] = done
            learned = learning(target, patients, fold.train, seed=seed + done)
            for (source, head), kept in zip(asked, gathered, strict=True):
                kept.add(fold, learned, _tell(source, head, fold, learned))
            advance(done)
    said = (
        Said(source.name, head, kept.answers, kept.balanced, tuple(kept.chosen))
        for (source, head), kept in zip(asked, gathered, strict=True)
    )
    return Probed(target, patients, number, tuple(said))


def _heads(source: Source) -> tuple[str, ...]:
    return (*ROW_HEADS, *([ATTENTIVE] if source.cells else []))


def _tell(source: Source, head: str, fold: Fold, learned: Learning) -> Told:
    if head == ATTENTIVE:
        train, test = ([source.cells[row] for row in rows] for rows in (fold.train, fold.test))
        return attentive(train, learned, test)
    told: Told = ROW_HEADS[head](source.rows[fold.train], learned, source.rows[fold.test])
    return told
