"""The page at the end of a demo, and a picture of the same.

Nothing here computes results: `ReportContent` is filled by the caller, and every function turns a
part of it into figures, numbers for the template, or the page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mass3d.files import write_bytes
from mass3d.io.colours import Colour
from mass3d.metrics.statistics import Interval
from mass3d.pages.html import decimals, write_page
from mass3d.pages.pictures import Picture
from mass3d.pages.volumes import settle


@dataclass(frozen=True)
class Sample:
    """Dice over the test cases: every value, and their mean with its interval."""

    values: tuple[float, ...]
    mean: Interval


@dataclass(frozen=True)
class Method:
    """A way to find the structures: ours first, then what it is to be compared with."""

    name: str
    meaning: str  # a sentence


@dataclass(frozen=True)
class StructureScore:
    """One structure, as every method found it."""

    name: str
    colour: Colour
    samples: tuple[Sample, ...]  # in the order of the methods

    @property
    def ours(self) -> Sample:
        """Of the first method."""
        return self.samples[0]


@dataclass(frozen=True)
class ShownCase:
    """One test case in pictures."""

    case_id: str
    role: str  # "best", "median", "worst"
    dice: tuple[float, ...]  # mean over its structures, in the order of the methods
    pictures: tuple[Picture, ...]  # scan, truth, then what some methods found
    volume: str | None = None  # address beside the page, of what can be looked through


@dataclass(frozen=True)
class ReportContent:
    """Everything the page says."""

    source: str  # one sentence about the scans
    reference_id: str
    steps: int
    methods: tuple[Method, ...]
    idea: tuple[Picture, ...]  # a pair of views, its masks and the answer
    overall: StructureScore  # mean over structures per case
    structures: tuple[StructureScore, ...]
    cohort: tuple[tuple[str, str], ...]  # what was found in the folder: name, value
    proposals: tuple[tuple[Picture, ...], ...]  # one row per scan
    proposals_note: str
    curve: tuple[Mapping[str, float], ...]  # rows of metrics.jsonl
    reference: tuple[Picture, ...]
    cases: tuple[ShownCase, ...]
    notes: tuple[str, ...]  # what was not good
    commands: tuple[tuple[str, str], ...]  # what to type next: command, what it does
    reference_volume: str | None = None  # address beside the page

    @property
    def volumes(self) -> tuple[str, ...]:
        """Addresses of all that can be looked through."""
        every = (self.reference_volume, *(case.volume for case in self.cases))
        return tuple(filter(None, every))


@dataclass(frozen=True)
class Line:
    """A curve in a box of 1000 x 300, y downwards, with the values at its ends."""

    raw: str  # points of an SVG polyline
    smooth: str
    first: float
    last: float
    low: float
    high: float


def write_report(content: ReportContent, folder: Path) -> Path:
    """Write `report.html` and `overview.png` into `folder`; returns the page.

    The volumes that it names lie there already; others are removed.
    """
    settle(folder, content.volumes)
    write_bytes(folder / "overview.png", render_overview(content))
    return write_page(folder / "report.html", "report.html", **page_context(content))


def page_context(content: ReportContent) -> dict[str, Any]:
    """The names the template knows."""
    return {
        "report": content,
        "viewer": len(content.volumes),
        "scores": (content.overall, *content.structures),
        "loss": curve_line(content.curve, "loss"),
        "pretext_dice": curve_line(content.curve, "dice"),
    }


def curve_line(rows: Sequence[Mapping[str, float]], key: str) -> Line | None:
    """One figure of a run against the step; None with fewer than two finite rows."""
    points = [
        (float(r["step"]), float(r[key])) for r in rows if math.isfinite(r.get(key, math.nan))
    ]
    if len(points) < 2:
        return None
    smooth = _smoothed([y for _, y in points], over=max(1.0, len(points) / 40))
    values = [y for _, y in points]
    low, high = min(values), max(values)
    first_step, last_step = points[0][0], points[-1][0]

    def place(ys: Sequence[float]) -> str:
        return " ".join(
            f"{1000 * (step - first_step) / max(last_step - first_step, 1):.1f},"
            f"{290 - 280 * (y - low) / max(high - low, 1e-9):.1f}"
            for (step, _), y in zip(points, ys, strict=True)
        )

    return Line(place(values), place(smooth), smooth[0], smooth[-1], low, high)


def _smoothed(values: Sequence[float], *, over: float) -> list[float]:
    """Exponential average over about `over` rows."""
    keep = over / (over + 1)
    smooth = [values[0]]
    for value in values[1:]:
        smooth.append(keep * smooth[-1] + (1 - keep) * value)
    return smooth


def weaknesses(
    structures: Sequence[StructureScore],
    overall: StructureScore,
    methods: Sequence[Method],
    *,
    cases: int,
) -> list[str]:
    """What a careful reader should hold against the numbers, from the numbers themselves."""
    notes = []
    weak = [s for s in structures if s.ours.mean.mean < 0.5]
    if weak:
        listed = ", ".join(f"{s.name} ({decimals(s.ours.mean.mean)})" for s in weak)
        notes.append(f"Not good enough to use: {listed}. More steps or more references help.")
    for place, method in enumerate(methods[1:], start=1):
        unclear = [s.name for s in structures if not s.ours.mean.low > s.samples[place].mean.high]
        if unclear:
            notes.append(
                f"No gain is shown over {method.name} for {', '.join(unclear)}: the intervals "
                "touch, or are unknown."
            )
    values = [v for v in overall.ours.values if not math.isnan(v)]
    if values and min(values) < 0.6 * (sum(values) / len(values)):
        notes.append(
            f"Cases differ much: the worst reaches a mean Dice of {decimals(min(values))}, "
            f"the best {decimals(max(values))}."
        )
    if cases < 30:
        notes.append(
            f"{cases} test cases give wide intervals; they cover the choice of cases, not that of "
            "the reference or of the seed."
        )
    return notes


# --- the picture for a README ---------------------------------------------------------------

INK, PAPER, QUIET = "#eef1f5", "#0f1318", "#93a0b0"


def render_overview(content: ReportContent) -> bytes:
    """A PNG with the story in four panels, of one row per modality at most two."""
    rows = overview_rows(content)
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(3.1 * columns, 2.75 * len(rows) + 0.75), dpi=150, facecolor=PAPER)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, picture in zip(axes, row, strict=False):
            ax.imshow(picture.pixels, interpolation="lanczos")
            ax.set_title(picture.title, color=INK, fontsize=11, loc="left", pad=6)
            ax.text(
                0, -0.03, picture.note, color=QUIET, fontsize=8.5, va="top", transform=ax.transAxes
            )
    ours = content.overall.ours.mean
    ends = "" if math.isnan(ours.low) else f" [{ours.low:.2f}, {ours.high:.2f}]"
    others = "".join(
        f" · {method.name}: {sample.mean.mean:.2f}"
        for method, sample in zip(content.methods[1:], content.overall.samples[1:], strict=True)
    )
    figure.text(
        0.012,
        0.035,
        f"One labelled example: mean Dice {ours.mean:.2f}{ends}{others}",
        color=INK,
        fontsize=12,
    )
    figure.subplots_adjust(
        left=0.012,
        right=0.988,
        top=1 - 0.32 / figure.get_figheight(),
        bottom=0.62 / figure.get_figheight(),
        wspace=0.05,
        hspace=0.24,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=PAPER)
    return buffer.getvalue()


def overview_rows(content: ReportContent) -> list[list[Picture]]:
    """Above, the idea in one pair; below, the example, and truth and finds in a typical case."""
    typical = [case for case in content.cases if case.role == "median"] or content.cases[:1]
    found = [*content.reference[-1:], *(p for case in typical for p in case.pictures[1:4])]
    return [row for row in (list(content.idea), found) if row]
