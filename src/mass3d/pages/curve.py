"""The page of `mass3d curve`: Dice against the number of labels, and what that says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.files import write_text
from mass3d.pages.html import render, write_page
from mass3d.transfer.curves.curves import Curves, Mark

PAGE: Final = "curve.html"
PLOT: Final = "curve.svg"
# Told apart by most who see colours otherwise as well (Okabe and Ito).
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LEFT, RIGHT, TOP, BOTTOM = 60.0, 940.0, 20.0, 400.0  # of the axes in a box of 960 x 460
ASIDE: Final = 3.0  # between the marks of two starts, so that intervals do not hide each other


@dataclass(frozen=True)
class Drawn:
    """A mark in the box."""

    x: float
    y: float
    low: float | None  # ends of the interval, where it is known
    high: float | None


@dataclass(frozen=True)
class Line:
    """A start in the box."""

    name: str
    colour: str
    marks: tuple[Drawn, ...]

    @property
    def points(self) -> str:
        """Of an SVG polyline."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True)
class Plot:
    """Everything that is drawn; y downwards, labels on a logarithmic axis."""

    lines: tuple[Line, ...]
    across: tuple[tuple[float, str], ...]  # place and text of the numbers of labels
    up: tuple[tuple[float, str], ...]  # of Dice


def make_plot(marks: Sequence[Mark]) -> Plot:
    """Place the marks of every start; those without a score are left out."""
    starts = list(dict.fromkeys(mark.start for mark in marks))
    ends = [end for mark in marks for end in mark.dice.known]
    lowest, highest = _rounded_out(min(ends, default=0.0), max(ends, default=1.0))
    counts = sorted({mark.labels for mark in marks}) or [1]
    first, last = math.log(counts[0]), math.log(max(counts[-1], counts[0] + 1))

    def across(labels: int) -> float:
        return LEFT + 30 + (RIGHT - LEFT - 60) * (math.log(labels) - first) / (last - first)

    def up(dice: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (dice - lowest) / (highest - lowest)

    lines = []
    for number, name in enumerate(starts):
        aside = ASIDE * (number - (len(starts) - 1) / 2)
        drawn = tuple(
            Drawn(
                across(mark.labels) + aside,
                up(mark.dice.mean),
                *(map(up, mark.dice.known[1:]) if len(mark.dice.known) == 3 else (None, None)),
            )
            for mark in marks
            if mark.start == name and mark.dice.known
        )
        lines.append(Line(name, COLOURS[number % len(COLOURS)], drawn))
    steps = round((highest - lowest) * 20)
    levels = [lowest + step / 20 for step in range(0, steps + 1, max(1, steps // 8))]
    return Plot(
        tuple(lines),
        tuple((across(count), str(count)) for count in counts),
        tuple((up(level), f"{level:.2f}") for level in levels),
    )


def _rounded_out(low: float, high: float) -> tuple[float, float]:
    """To twentieths, at least one apart."""
    lowest = math.floor(low * 20) / 20
    return lowest, max(math.ceil(high * 20) / 20, lowest + 1 / 20)


def write_curve_page(folder: Path, curves: Curves, *, warnings: Sequence[str]) -> Path:
    """Write the page and the plot by itself; neither needs another file or a network."""
    marks = curves.marks()
    plot = make_plot(marks)
    write_text(folder / PLOT, render("curve.svg", plot=plot))
    return write_page(
        folder / PAGE,
        "curve.html",
        plot=plot,
        marks=marks,
        verdict=curves.verdict(),
        summary=curves.told(),
        warnings=warnings,
    )
