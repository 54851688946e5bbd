"""Curves over the steps of a run, as plain numbers for a template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

COLOURS: Final = ("#0d7a68", "#d55e00", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9")
LEFT, RIGHT, TOP, BOTTOM = 62.0, 700.0, 14.0, 236.0  # of the axes in a box of 720 x 270
MAX_POINTS: Final = 400  # of a line; more are averaged

Points = Sequence[tuple[float, float]]  # step, value


@dataclass(frozen=True)
class Series:
    """A line, or a level that is the same at every step."""

    name: str
    points: Points = ()
    level: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A line in the box."""

    name: str
    colour: str
    points: str  # of an SVG polyline
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn; y downwards."""

    title: str
    lines: tuple[Drawn, ...]
    across: tuple[tuple[float, str], ...]  # place and text of steps
    up: tuple[tuple[float, str], ...]  # of values


def make_chart(
    title: str, series: Sequence[Series], *, steps: int, floor: float | None = None
) -> Chart:
    """Place lines over 0 to `steps`. `floor`: a value that the axis reaches down to.

    Points that are not finite are left out.
    """
    kept = [_finite(one.points) for one in series]
    values = [value for points in kept for _, value in points]
    values += [one.level for one in series if one.level is not None]
    values += [] if floor is None else [floor]
    low, high = min(values, default=0.0), max(values, default=1.0)
    high = high if high > low else low + max(abs(low), 1.0) * 0.1

    def place(step: float, value: float) -> tuple[float, float]:
        return (
            LEFT + (RIGHT - LEFT) * step / max(steps, 1),
            BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low),
        )

    lines = []
    for number, (one, points) in enumerate(zip(series, kept, strict=True)):
        level = one.level
        ends = [(0.0, level), (float(steps), level)] if level is not None else _averaged(points)
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in ends))
        lines.append(Drawn(one.name, COLOURS[number % len(COLOURS)], text, level is not None))
    return Chart(
        title,
        tuple(lines),
        tuple((place(step, low)[0], f"{step:g}") for step in _ticks(0, steps)),
        tuple((place(0, value)[1], f"{value:.4g}") for value in _ticks(low, high)),
    )


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(step, value) for step, value in points if math.isfinite(value)]


def _averaged(points: Points) -> list[tuple[float, float]]:
    """At most so many points, each the mean of as many that follow each other."""
    if len(points) <= MAX_POINTS:
        return list(points)
    parts = np.array_split(np.array(points), MAX_POINTS)
    return [(float(x), float(y)) for x, y in (part.mean(0) for part in parts)]


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers from `low` to `high`."""
    span = max(high - low, 1e-12)
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * part for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if span / (unit * part) <= 8)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
