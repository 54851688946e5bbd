"""Two folders of predictions compared: figures, tables and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.execution.summary import counted
from mass3d.metrics.paired import Comparison, Paired, compare_tables

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]  # metric -> case -> structure -> score

CHANCE = 0.05  # p-values below are told as differences


@dataclass(frozen=True)
class Compared:
    """What two folders of predictions scored, and how that differs."""

    names: tuple[str, str]  # of the folders
    ours: Scores
    theirs: Scores
    metrics: dict[str, Comparison]

    def in_words(self) -> str:
        """What of Dice is to be said."""
        whole = self.metrics["dice"].overall
        if not whole.n:
            return f"No case of {self.names[1]} can be compared."
        low, high = (f"{end:+.3f}" for end in (whole.difference.low, whole.difference.high))
        ends = "" if math.isnan(whole.difference.low) else f" [{low}, {high}]"
        told = f"{verdict(whole, whole.permutation)}, p = {whole.permutation:.3g}"
        return (
            f"Dice is {whole.difference.mean:+.3f}{ends} beside {self.names[1]} in "
            f"{counted(whole.n, 'case')} of both ({told})."
        )

    def plain(self) -> dict[str, Any]:
        """As metrics.json has it."""
        ours, theirs = set(self.ours["dice"]), set(self.theirs["dice"])
        return {
            "metrics": {name: one.plain() for name, one in self.metrics.items()},
            "cases": len(ours & theirs),
            "only_here": sorted(ours - theirs),
            "only_against": sorted(theirs - ours),
        }


def compared(
    ours: Scores, theirs: Scores, structures: Sequence[str], *, names: tuple[str, str], seed: int
) -> Compared:
    """Compare scores of the cases that both have. names: of the two folders."""
    metrics = {}
    for name, own in ours.items():
        cases = [case for case in own if case in theirs[name]]
        here, there = (_table(one, cases, structures) for one in (own, theirs[name]))
        metrics[name] = compare_tables(here, there, structures, seed=seed)
    return Compared(names, ours, theirs, metrics)


def _table(
    scores: Mapping[str, Mapping[str, float]], cases: Sequence[str], structures: Sequence[str]
) -> NDArray[np.float64]:
    rows = [[scores[case].get(name, math.nan) for name in structures] for case in cases]
    return np.array(rows, np.float64).reshape(len(cases), len(structures))


def verdict(found: Paired, p: float) -> str:
    """Whether a difference is one, in words."""
    if math.isnan(p) or p >= CHANCE:
        return "no difference shown"
    return "higher" if found.difference.mean > 0 else "lower"
