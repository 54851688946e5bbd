"""The page of `mass3d inspect`: faults first, then warnings, the cohort, and every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mass3d.execution.faults import Fault
from mass3d.inspection.case import CaseFacts, Histogram, Inspection
from mass3d.inspection.cohort import ModalityFacts, StructureFacts, pooled
from mass3d.inspection.warnings import CaseWarning
from mass3d.io.left_out import LeftOut
from mass3d.pages.html import write_page
from mass3d.volume.volume import Modality

MAX_PICTURES = 500  # cases with pictures: those with faults or warnings, then the first others
AXES = {"ct": ("-1000 HU", "2000 HU")}  # ends of the histogram where it has a scale of its own


@dataclass(frozen=True)
class Row:
    """One case in the table of the page."""

    name: str
    facts: CaseFacts
    curve: str  # points of an SVG polyline in a box of 100 x 30
    picture: str | None
    notes: tuple[str, ...]
    faulty: bool


@dataclass(frozen=True)
class Chart:
    """The values of one modality: points of an SVG polyline, and what its ends are."""

    modality: Modality
    facts: ModalityFacts
    curve: str
    ends: tuple[str, str]


def write_inspect_page(
    path: Path,
    cases: Mapping[str, Inspection],
    *,
    pictures: Mapping[str, str],
    summary: str,
    faults: Sequence[Fault],
    warnings: Sequence[CaseWarning],
    modalities: Mapping[Modality, ModalityFacts],
    structures: Sequence[StructureFacts],
    left_out: Sequence[LeftOut],
) -> None:
    """Write the page; it needs no other file and no network.

    pictures: case -> `data:` address of its picture, where there is one.
    """
    write_page(
        path,
        "inspect.html",
        summary=summary,
        faults=faults,
        warnings=warnings,
        charts=_charts(cases, modalities),
        structures=structures,
        left_out=left_out,
        rows=_rows(cases, pictures, faults, warnings),
        numbers={name: number for number, name in enumerate(cases, start=1)},
        pictured=min(len(cases), MAX_PICTURES),
    )


def curve(shares: Sequence[float], *, width: float, height: float) -> str:
    """Points of an outline over equal bins; the root of each share, so that small ones show.

    The end bins, which hold the air and what lies beyond the scale, are cut off where they would
    dwarf the others.
    """
    heights = np.sqrt(np.array(shares, float))
    heights = height * np.minimum(heights / max(heights[1:-1].max(), 1e-12), 1)
    points = ((i * width / len(heights), height - h) for i, h in enumerate(heights))
    inner = " ".join(f"{x:.1f},{y:.1f} {x + width / len(heights):.1f},{y:.1f}" for x, y in points)
    return f"0,{height:g} {inner} {width:g},{height:g}"


def _charts(
    cases: Mapping[str, Inspection], modalities: Mapping[Modality, ModalityFacts]
) -> list[Chart]:
    charts = []
    for modality, facts in modalities.items():
        histograms = [one.histogram for one in cases.values() if one.facts.modality == modality]
        ends = AXES.get(modality, ("1st percentile", "99th percentile of each scan"))
        charts.append(
            Chart(modality, facts, curve(pooled(histograms), width=600, height=120), ends)
        )
    return charts


def _rows(
    cases: Mapping[str, Inspection],
    pictures: Mapping[str, str],
    faults: Sequence[Fault],
    warnings: Sequence[CaseWarning],
) -> list[Row]:
    faulty = {fault.where for fault in faults}
    notes: dict[str, list[str]] = {}
    for warning in warnings:
        for name, figures in warning.cases.items():
            notes.setdefault(name, []).append(
                f"{warning.message} ({figures})" if figures else warning.message
            )
    odd = [name for name in cases if name in faulty or name in notes]
    plain = [name for name in cases if name not in set(odd)]
    shown = set((odd + plain)[:MAX_PICTURES])
    return [
        Row(
            name=name,
            facts=one.facts,
            curve=_sparkline(one.histogram),
            picture=pictures.get(name) if name in shown else None,
            notes=tuple(notes.get(name, ())),
            faulty=name in faulty,
        )
        for name, one in cases.items()
    ]


def _sparkline(histogram: Histogram) -> str:
    return curve(histogram.counts, width=100, height=30)
