"""Dice against labels: what was scored, its means, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mass3d.execution.summary import counted
from mass3d.metrics.crossed import crossed_mean, plain_mean
from mass3d.metrics.statistics import Interval
from mass3d.transfer.curves.plan import Plan, Point
from mass3d.transfer.finetuned.scores import Scores

FULL: Final = 0.97  # of the Dice with all labels, that counts as nearly as good

VERDICTS: Final = {  # of the first start and another one
    "better": "{0} is better than {1}",
    "worse": "{0} is worse than {1}",
    "none": "there is no difference between {0} and {1} that these draws can show",
    "unknown": "too little was scored to tell {0} from {1}",
}


class Mark(NamedTuple):
    """A start with a number of labels."""

    start: str
    labels: int
    draws: tuple[float, ...]  # means over test scans
    dice: Interval  # of all draws


class Gain(NamedTuple):
    """Dice of the first start less that of another, with as many labels of the same scans."""

    over: str
    labels: int
    dice: Interval

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `none` that these draws can show; `unknown` of one scan alone."""
        if math.isnan(self.dice.low):
            return "unknown"
        if self.dice.low > 0:
            return "better"
        return "worse" if self.dice.high < 0 else "none"


@dataclass(frozen=True)
class Curves:
    """Dice of every start, number of labels, draw, test scan and structure."""

    starts: tuple[str, ...]
    labels: tuple[int, ...]
    cases: tuple[str, ...]
    structures: tuple[str, ...]
    table: NDArray[np.float64] = field(repr=False)  # in that order, draws third; NaN: not scored
    seed: int

    @classmethod
    def of(cls, plan: Plan, scores: Mapping[Point, Scores], structures: Sequence[str]) -> Curves:
        """The scores of all points of a plan."""
        cases = [case.case_id for case in plan.tests]
        shape = (len(plan.starts), len(plan.labels), plan.draws, len(cases), len(structures))
        table = np.full(shape, np.nan)
        for point, found in scores.items():
            place = plan.starts.index(point.start), plan.labels.index(point.labels), point.draw
            table[place] = [
                [found.cases[case].get(name, math.nan) for name in structures] for case in cases
            ]
        names = tuple(start.name for start in plan.starts)
        return cls(names, plan.labels, tuple(cases), tuple(structures), table, plan.seed)

    def told(self) -> str:
        """What was done, in a sentence."""
        starts, labels, draws = self.table.shape[:3]
        return (
            f"Compared {counted(starts, 'start')} with {counted(labels, 'number')} of labels "
            f"in {counted(draws, 'draw')}, scored on {counted(len(self.cases), 'scan')}."
        )

    def marks(self) -> list[Mark]:
        """Means with intervals over draws and test scans, start by start, of all that was tried."""
        return [
            Mark(
                start,
                labels,
                tuple(plain_mean(draw[None]) for draw in some),
                crossed_mean(some, seed=self.seed),
            )
            for start, rows in zip(self.starts, self.table, strict=True)
            for labels, some in zip(self.labels, rows, strict=True)
            if not np.isnan(some).all()
        ]

    def gains(self) -> list[Gain]:
        """The first start beside each of the others, paired by draw, scan and structure.

        Numbers of labels that another start was not tried with are left out.
        """
        ours = self.table[0]
        return [
            Gain(other, labels, crossed_mean(mine - theirs, seed=self.seed))
            for other, rows in zip(self.starts[1:], self.table[1:], strict=True)
            for labels, mine, theirs in zip(self.labels, ours, rows, strict=True)
            if np.isnan(rows).all() or not np.isnan(theirs).all()
        ]

    def verdict(self) -> tuple[str, ...]:
        """What the curves say, in sentences."""
        gains = self.gains()
        sentences: list[str] = []
        for other in self.starts[1:]:
            sentences += _told(self.starts[0], [gain for gain in gains if gain.over == other])
            sentences += [*self._saved(self.starts[0], other), *self._saved(other, self.starts[0])]
        return (*sentences, *self._nearly_full())

    def _saved(self, few: str, many: str) -> Iterator[str]:
        """With how many more labels the other start does no better, where it finds anything."""
        ours, theirs = (self._means()[self.starts.index(name)] for name in (few, many))
        told = 0
        for i, labels in enumerate(self.labels):
            later = zip(self.labels[i + 1 :], theirs[i + 1 :], strict=True)
            equal = max((count for count, dice in later if ours[i] >= dice > 0), default=0)
            if equal > told:
                told = equal
                yield f"{few} with {counted(labels, 'label')} equals {many} with {equal}."

    def _nearly_full(self) -> Iterator[str]:
        """From how few labels on the first start is nearly as good as the best with the most."""
        means = self._means()
        best = int(np.nan_to_num(means[:, -1]).argmax())
        enough = means[0, :-1] >= FULL * means[best, -1]
        if means[best, -1] > 0 and enough.any():
            count = self.labels[int(enough.argmax())]
            yield (
                f"{self.starts[0]} with {counted(count, 'label')} reaches {FULL} of the Dice of "
                f"{self.starts[best]} with {self.labels[-1]}, the most that were tried."
            )

    def _means(self) -> NDArray[np.float64]:
        """(starts, labels)."""
        return np.array([[plain_mean(some) for some in rows] for rows in self.table])


def _told(ours: str, gains: Sequence[Gain]) -> Iterator[str]:
    """A sentence for each verdict over one other start."""
    for verdict, words in VERDICTS.items():
        some = [gain for gain in gains if gain.verdict == verdict]
        if some:
            numbers = ", ".join(str(gain.labels) for gain in some)
            labels = "label" if numbers == "1" else "labels"
            told = ", ".join(_in_words(gain.dice) for gain in some)
            yield f"With {numbers} {labels} {words.format(ours, some[0].over)}: {told}."


def _in_words(gain: Interval) -> str:
    if math.isnan(gain.low):
        return "unknown" if math.isnan(gain.mean) else f"{gain.mean:+.3f}"
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
