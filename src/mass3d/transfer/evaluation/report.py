"""What `mass3d evaluate` found, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.execution.faults import Fault
from mass3d.execution.progress import MAX_SENTENCES
from mass3d.execution.summary import Report, counted, first_of, warnings_told
from mass3d.metrics.cases import StructureScores
from mass3d.metrics.scores import Seen
from mass3d.metrics.statistics import Interval
from mass3d.transfer.evaluation.comparison import Compared

PAGE: Final = "evaluate.html"  # where all of it is to be seen


@dataclass(frozen=True)
class Evaluated(Report):
    """How good some predictions are."""

    output: Path
    scores: dict[str, dict[str, dict[str, float]]]
    """metric -> case -> structure -> score; unscored ones left out"""
    mean: Interval  # of Dice: mean over structures of their means over cases
    means: dict[str, Interval]  # likewise of every metric
    structures: dict[str, StructureScores]
    labels_without_prediction: tuple[str, ...]  # cases
    unnamed: dict[int, Seen]  # label values that no structure names, hence not scored
    comparison: Compared | None = None  # with the other segmentations
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()  # sentences about values with two names

    @property
    def dice(self) -> dict[str, dict[str, float]]:
        """case -> structure -> Dice; unscored ones left out."""
        return self.scores["dice"]

    @property
    def values(self) -> dict[str, int]:
        """Structure -> label value."""
        return {name: found.value for name, found in self.structures.items()}

    def summary(self) -> str:
        """One paragraph for people."""
        return f"{self.told(f', in {self.output}')} Look at {self.output / PAGE}."

    def told(self, place: str = "") -> str:
        """What came of it; nothing of where, but for the words of `place`."""
        scored = sum(map(bool, self.dice.values()))
        structures = sum(found.n > 0 for found in self.structures.values())
        unnamed, failed = ", ".join(map(str, self.unnamed)), counted(len(self.faults), "prediction")
        return (
            f"Mean Dice {self.mean.in_words()} over {counted(structures, 'structure')} "
            f"in {counted(scored, 'case')}{place}."
            + without_in_words(self.labels_without_prediction)
            + (f" Label values without a name were not scored: {unnamed}." if unnamed else "")
            + (f" {failed} could not be scored." if self.faults else "")
            + (f" {self.comparison.in_words()}" if self.comparison else "")
            + warnings_told(_first(self.warnings))
        )


def _first(sentences: Sequence[str]) -> Iterator[str]:
    """The first of them, and where all are."""
    yield from sentences[:MAX_SENTENCES]
    if len(sentences) > MAX_SENTENCES:
        yield f"{len(sentences) - MAX_SENTENCES} more values have two names, as {PAGE} tells"


def without_in_words(cases: Sequence[str]) -> str:
    """What of labels without a prediction is to be said: a failed case must not go unseen."""
    if not cases:
        return ""
    one = len(cases) == 1
    told = f"{counted(len(cases), 'label')} {'has' if one else 'have'} NO PREDICTION"
    return f" {told} and {'is' if one else 'are'} in no score: {first_of(cases)}."
