"""The page of `mass3d evaluate`: scores of structures, and the cases to look at, worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.execution.faults import Fault
from mass3d.io.colours import value_colours
from mass3d.metrics.paired import Paired
from mass3d.metrics.scores import Metric, Seen
from mass3d.metrics.statistics import Interval
from mass3d.pages.box_plots import box_plot
from mass3d.pages.html import write_page
from mass3d.pages.pictures import png_uri
from mass3d.transfer.evaluation.comparison import Compared, verdict

MAX_ROWS: Final = 2000  # beyond, a browser waits
MAX_PICTURES: Final = 60  # of the worst cases
WORST: Final = 4  # structures of a case that are told unasked


@dataclass(frozen=True)
class StructureRow:
    """One structure: its Dice, and in how many cases it was where."""

    name: str
    value: int
    dice: Interval
    scored: int
    seen: Seen
    others: tuple[tuple[Metric, float], ...] = ()  # means of the further metrics


@dataclass(frozen=True)
class CaseRow:
    """One case: its mean, and its structures from the worst on."""

    name: str
    picture: str | None
    volume: str | None  # relative to the page
    mean: float  # NaN where nothing was scored
    scores: tuple[tuple[str, float], ...]


def write_evaluate_page(
    path: Path,
    *,
    mean: Interval,
    structures: Sequence[StructureRow],
    dice: Mapping[str, Mapping[str, float]],
    comparison: Compared | None = None,
    pictures: Mapping[str, str],
    volumes: Mapping[str, str] | None = None,
    summary: str,
    without_prediction: Sequence[str],
    faults: Sequence[Fault],
    warnings: Sequence[str] = (),
) -> Path:
    """Write the page; it needs no network. comparison: with other predictions.

    dice: case -> structure -> Dice. pictures: case -> `data:` address. volumes: case -> address of
    what lies beside the page. warnings: sentences about values with two names.
    """
    rows, seen = _rows(dice), volumes or {}
    pictured = [
        CaseRow(row.name, pictures.get(row.name), seen.get(row.name), row.mean, row.scores)
        for row in rows[:MAX_PICTURES]
    ]
    colours = value_colours(one.value for one in structures)
    return write_page(
        path,
        "evaluate.html",
        summary=summary,
        mean=mean,
        structures=[(one, colours[one.value]) for one in structures],
        rows=[*pictured, *rows[MAX_PICTURES:MAX_ROWS]],
        cases=len(rows),
        pictured=len(pictured),
        worst=WORST,
        without_prediction=without_prediction,
        faults=faults,
        warnings=warnings,
        plot=_plot([one.name for one in structures], [dice]),
        comparison=comparison,
        compared=_compared(comparison),
        viewer=len(seen),
        paired_plot=None if comparison is None else _paired_plot(comparison),
    )


def _compared(found: Compared | None) -> list[tuple[str, Paired, str]]:
    """Name, figures and verdict of every structure, in Dice."""
    rows = found.metrics["dice"].structures if found else {}
    return [(name, one, verdict(one, one.permutation_holm)) for name, one in rows.items()]


def _paired_plot(found: Compared) -> str | None:
    """Dice of both, in the cases that both were scored in."""
    ours, theirs = found.ours["dice"], found.theirs["dice"]
    common = [case for case in ours if case in theirs]
    methods = [
        {case: {n: side[case][n] for n in ours[case] if n in theirs[case]} for case in common}
        for side in (ours, theirs)
    ]
    return _plot(list(found.metrics["dice"].structures), methods, found.names)


def _plot(
    structures: Sequence[str],
    methods: Sequence[Mapping[str, Mapping[str, float]]],
    names: Sequence[str] = (),
) -> str | None:
    """A box plot as a `data:` address; None where no structure was scored."""
    scores = {
        name: [[case[name] for case in one.values() if name in case] for one in methods]
        for name in structures
    }
    shown = {name: values for name, values in scores.items() if all(values)}
    return png_uri(box_plot(shown, "Dice", names)) if shown else None


def worst_cases(dice: Mapping[str, Mapping[str, float]], count: int) -> list[str]:
    """The first cases of the page."""
    return [row.name for row in _rows(dice)[:count]]


def _rows(dice: Mapping[str, Mapping[str, float]]) -> list[CaseRow]:
    return sorted(map(_row, dice, dice.values()), key=_worst_first)


def _row(case: str, scores: Mapping[str, float]) -> CaseRow:
    mean = math.fsum(scores.values()) / len(scores) if scores else math.nan
    ordered = sorted(scores.items(), key=lambda item: (item[1], item[0]))
    return CaseRow(case, None, None, mean, tuple(ordered))


def _worst_first(row: CaseRow) -> tuple[bool, float, str]:
    """Cases in which nothing was scored come last."""
    unscored = math.isnan(row.mean)
    return unscored, 0.0 if unscored else row.mean, row.name
