"""The page of `mass3d probe`: what frozen features tell, beside what needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.execution.faults import Fault
from mass3d.execution.summary import counted
from mass3d.metrics.prediction import MetricName
from mass3d.metrics.statistics import Interval
from mass3d.pages.html import write_page
from mass3d.transfer.frozen.probing.probe import Probed
from mass3d.transfer.frozen.probing.results import HeadResult, TargetResult
from mass3d.transfer.frozen.scan import PRETRAINED

PAGE: Final = "probe.html"
LABELS: Final = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "mae": "mean error",
    "r2": "R²",
}
_AUROC: Final[MetricName] = "auroc"
_MAE: Final[MetricName] = "mae"
FULL: Final = ("auroc", "auprc", "balanced_accuracy")  # scores from 0 to 1, drawn as bars
MIN_PATIENTS: Final = 10  # of fewer an interval by bootstrap is too narrow to go by
SIDE: Final = 100.0  # of a drawing


@dataclass(frozen=True)
class Row:
    """A head on some features."""

    source: str
    head: str
    scores: tuple[tuple[Interval, bool], ...]  # and whether it goes from 0 to 1


@dataclass(frozen=True)
class Drawing:
    """Points in a square, from the lower left (0, 0) to (100, 100) of a drawing."""

    title: str
    points: tuple[tuple[float, float], ...]
    joined: bool


@dataclass(frozen=True)
class Section:
    """A target."""

    name: str
    what: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: str
    drawings: tuple[Drawing, ...]


def write_probe_page(
    path: Path,
    results: Sequence[TargetResult],
    probed: Sequence[Probed],
    *,
    summary: str,
    faults: Sequence[Fault],
) -> Path:
    """Write the page; it needs no other file and no network."""
    sections = [_section(one, other) for one, other in zip(results, probed, strict=True)]
    return write_page(path, "probe.html", summary=summary, faults=faults, sections=sections)


def _section(result: TargetResult, probed: Probed) -> Section:
    target = result.target
    metrics = tuple(result.heads[0].scores)
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    about = counts or f"a number from {target.truth.min():g} to {target.truth.max():g}"
    return Section(
        target.name,
        f"{len(target.cases)} scans of {result.patients} patients: {about}.",
        tuple(LABELS[name] for name in metrics),
        tuple(
            Row(one.source, one.head, tuple((one.scores[m], m in FULL) for m in metrics))
            for one in result.heads
        ),
        verdict(result),
        tuple(_drawings(result, probed)),
    )


def verdict(result: TargetResult) -> str:
    """What the linear head on pretrained features beats, and what not: a sentence."""
    if result.patients < MIN_PATIENTS:
        count = counted(result.patients, "patient")
        return f"Too few patients to tell what is better ({count}, at least {MIN_PATIENTS} needed)."
    metric, sign = (_MAE, -1) if result.target.kind == "number" else (_AUROC, 1)
    told: dict[str, list[str]] = {"better than": [], "not told apart from": [], "worse than": []}
    ours = (one for one in result.heads if (one.source, one.head) == (PRETRAINED, "linear"))
    for source, scores in next(ours).differences.items():
        found = scores[metric]
        low, high = sorted((sign * found.low, sign * found.high))
        how = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
        told[how].append(f"{source} ({found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}])")
    parts = (f"{how} {', '.join(names)}" for how, names in told.items() if names)
    return f"{LABELS[metric]} of linear on pretrained features is {'; '.join(parts)}."


def _drawings(result: TargetResult, probed: Probed) -> list[Drawing]:
    """Of the pretrained heads: calibration curves, or predictions by truth."""
    drawn = []
    for one, said in zip(result.heads, probed.said, strict=True):
        if one.source != PRETRAINED:
            continue
        if one.calibration:
            drawn.append(Drawing(one.head, _curve(one), joined=True))
        else:
            truth = probed.target.truth
            low, wide = truth.min(), max(float(truth.max() - truth.min()), 1e-12)
            pairs = zip(truth.tolist(), said.answers[:, 0].tolist(), strict=True)
            points = ((SIDE * (t - low) / wide, SIDE * (p - low) / wide) for t, p in pairs)
            drawn.append(Drawing(one.head, tuple(points), joined=False))
    return drawn


def _curve(result: HeadResult) -> tuple[tuple[float, float], ...]:
    return tuple((SIDE * said, SIDE * share) for said, share, _ in result.calibration)
