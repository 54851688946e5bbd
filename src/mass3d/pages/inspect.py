"""The page of `mass3d inspect`: faults first, then remarks, the cohort, and every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mass3d.execution.faults import Fault
from mass3d.inspection.case import CaseFacts, Histogram, Looked
from mass3d.inspection.cohort import ModalityFacts, StructureFacts, pooled
from mass3d.inspection.warnings import Remark
from mass3d.io.left_out import LeftOut
from mass3d.pages.html import write_page
from mass3d.volume.volume import Modality

PICTURES = 500  # cases that are shown: the odd ones, then the first of the others
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
    looked: Mapping[str, Looked],
    *,
    summary: str,
    faults: Sequence[Fault],
    remarks: Sequence[Remark],
    modalities: Mapping[Modality, ModalityFacts],
    structures: Sequence[StructureFacts],
    left_out: Sequence[LeftOut],
) -> None:
    """Write the page; it needs no other file and no network."""
    write_page(
        path,
        "inspect.html",
        summary=summary,
        faults=faults,
        remarks=remarks,
        charts=_charts(looked, modalities),
        structures=structures,
        left_out=left_out,
        rows=_rows(looked, faults, remarks),
        numbers={name: number for number, name in enumerate(looked, start=1)},
        pictured=min(len(looked), PICTURES),
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
    looked: Mapping[str, Looked], modalities: Mapping[Modality, ModalityFacts]
) -> list[Chart]:
    charts = []
    for modality, facts in modalities.items():
        histograms = [one.histogram for one in looked.values() if one.facts.modality == modality]
        ends = AXES.get(modality, ("1st percentile", "99th percentile of each scan"))
        charts.append(
            Chart(modality, facts, curve(pooled(histograms), width=600, height=120), ends)
        )
    return charts


def _rows(
    looked: Mapping[str, Looked], faults: Sequence[Fault], remarks: Sequence[Remark]
) -> list[Row]:
    faulty = {fault.where for fault in faults}
    notes: dict[str, list[str]] = {}
    for remark in remarks:
        for name, figures in remark.cases.items():
            notes.setdefault(name, []).append(
                f"{remark.message} ({figures})" if figures else remark.message
            )
    odd = [name for name in looked if name in faulty or name in notes]
    plain = [name for name in looked if name not in set(odd)]
    shown = set((odd + plain)[:PICTURES])
    return [
        Row(
            name=name,
            facts=one.facts,
            curve=_sparkline(one.histogram),
            picture=one.picture if name in shown else None,
            notes=tuple(notes.get(name, ())),
            faulty=name in faulty,
        )
        for name, one in looked.items()
    ]


def _sparkline(histogram: Histogram) -> str:
    return curve(histogram.counts, width=100, height=30)
