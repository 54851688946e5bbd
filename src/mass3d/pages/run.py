"""The page of a run that goes on: curves, pictures, settings, and how long it still takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mass3d.config import toml_value
from mass3d.execution.free import GIB
from mass3d.execution.progress import duration
from mass3d.io.colours import value_colours
from mass3d.pages.chart import Chart, Series, make_chart
from mass3d.pages.html import write_page
from mass3d.pages.pictures import (
    Overlay,
    Picture,
    best_plane,
    draw,
    grey_range,
    label_overlays,
)
from mass3d.pages.step import FOUND, TRUE, rows_of
from mass3d.pretext.seen import SeenPair
from mass3d.training.log import read_rows
from mass3d.training.run_files import METRICS
from mass3d.training.step import Progress
from mass3d.transfer.validation.course import Course, told
from mass3d.transfer.validation.scans import Numbers, ShownScan, mean_of

RUN_PAGE: Final = "run.html"
PACE: Final = "pace.jsonl"
PAIRS, MASKS = 2, 4  # of what a step saw, that are pictured


@dataclass(frozen=True)
class RunContent:
    """What the page is made of, beside the files of the run."""

    now: Progress
    figure: str  # of the log, beside the loss
    settings: Mapping[str, Any]
    peak_bytes: int
    seen: Sequence[SeenPair] = field(default=(), repr=False)
    course: Course | None = field(default=None, repr=False)


def write_run_page(run: Path, content: RunContent) -> Path:
    """Write the page as the run stands, whole or not at all; it needs no other file."""
    now, course = content.now, content.course
    return write_page(
        run / RUN_PAGE,
        "run.html",
        now=now,
        going=now.step < now.steps,
        left=_left(now),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        peak_gib=content.peak_bytes / GIB,
        charts=list(_charts(run, content)),
        course=None if course is None or not course.rows else _validation(course),
        pairs=[
            {"across": pair.across, "rows": rows_of(pair, MASKS)} for pair in content.seen[:PAIRS]
        ],
        settings=list(flat(content.settings)),
        drawn=TRUE,
        found=FOUND,
    )


def _left(now: Progress) -> str:
    """How long the steps take that are left; nothing where there are none."""
    if now.step >= now.steps or not now.steps_per_s:
        return ""
    return duration((now.steps - now.step) / now.steps_per_s)


def _charts(run: Path, content: RunContent) -> Iterator[Chart]:
    steps, course = content.now.steps, content.course
    metrics, pace = read_rows(run / METRICS), read_rows(run / PACE)
    yield make_chart("Loss", [_series("loss", metrics)], steps=steps)
    name = content.figure
    yield make_chart(name.capitalize(), [_series(name, metrics)], steps=steps)
    if course is not None and course.rows:
        floors = [Series(name, level=mean_of(dice)) for name, dice in course.floors.items()]
        dice = [_series("dice", course.rows), *(one for one in floors if one.level is not None)]
        yield make_chart("Dice of the validation", dice, steps=steps, floor=0.0)
    speed = [_series("samples_per_s", pace)]
    yield make_chart("Samples per second", speed, steps=steps, floor=0.0)
    waits = [_series("wait_share", pace)]
    yield make_chart("Share of the time that waits for batches", waits, steps=steps, floor=0.0)


def _series(name: str, rows: Sequence[Mapping[str, Any]]) -> Series:
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return Series(name.replace("_", " "), found)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their dotted names, as they are written; those that are None are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", toml_value(value)


def _validation(course: Course) -> dict[str, Any]:
    """The last validation beside its floors, and what was found in it."""
    row, floors = course.rows[-1], course.floors
    table = [
        (name, told(dice), *(told(floor[name]) for floor in floors.values()))
        for name, dice in row["structures"].items()
    ]
    means = (told(mean_of(floor)) for floor in floors.values())
    return {
        "step": row["step"],
        "floors": list(floors),
        "table": [*table, ("mean", told(row["dice"]), *means)],
        "plateau": course.plateau(),
        "pictures": list(_pictures(course)),
        "legend": _colours(course),
    }


def _colours(course: Course) -> dict[str, Any]:
    """Name of a structure -> its colour."""
    structures = dict(course.scans.structures)
    colours = value_colours(structures.values())
    return {name: colours[number] for name, number in structures.items()}


def _pictures(course: Course) -> Iterator[Picture]:
    """The example with its label, and each query with what is true and what was found."""
    if course.last is None:  # of a process that has ended
        return
    example = course.scans.example
    yield Picture(_slice(course, example, example.label), example.case_id, "the example")
    for query, found in zip(course.scans.queries, course.last.found, strict=True):
        yield Picture(_slice(course, query, found, query.label), query.case_id, "found, and lines")


def _slice(course: Course, shown: ShownScan, label: Numbers, truth: Numbers | None = None) -> Any:
    """The slice that shows most of what is true, with a label filled and the truth as lines."""
    colours = value_colours(course.scans.structures.values())
    spacing = shown.scan.grid.spacing_mm
    plane = best_plane(shown.label, spacing)
    overlays: list[Overlay] = label_overlays(plane.cut(label), colours, line=0.0)
    overlays += label_overlays(plane.cut(label if truth is None else truth), colours, fill=0.0)
    pixels = plane.cut(shown.scan.image)
    return draw(
        pixels,
        pixel_mm=plane.pixel_mm(spacing),
        grey=grey_range(pixels),
        overlays=overlays,
        width=240,
    )
