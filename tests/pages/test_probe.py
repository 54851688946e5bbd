"""The page of probe: what is better is said only where the interval says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import pages
from mass3d.execution.faults import Fault
from mass3d.metrics.statistics import Interval
from mass3d.pages.probe import MIN_PATIENTS, verdict, write_probe_page
from mass3d.transfer.frozen.probing.labels import Kind, Target
from mass3d.transfer.frozen.probing.probe import Probed, Said
from mass3d.transfer.frozen.probing.results import HeadResult, Scores, TargetResult


def result(kind: Kind, difference: Interval, patients: int = MIN_PATIENTS) -> TargetResult:
    classes = ("a", "<b>") if kind == "classes" else ()
    target = Target("<i>ill</i>", kind, classes, ("x", "y"), np.array([0.0, 1.0]), ())
    scores: Scores = (
        {"mae": Interval(3, 2, 4), "r2": Interval(0.5, 0.4, 0.6)}
        if kind == "number"
        else {"auroc": Interval(0.8, float("nan"), float("nan"))}
    )
    better: Mapping[str, Scores] = {"size": {"mae" if kind == "number" else "auroc": difference}}
    curve = ((0.2, 0.1, 1), (0.9, 1.0, 1)) if kind == "classes" else ()
    heads = (
        HeadResult("pretrained", "knn", scores, better, curve, (1,)),
        HeadResult("pretrained", "linear", scores, better, curve, (1,)),
        HeadResult("size", "linear", scores, {}, curve, (1,)),
    )
    return TargetResult(target, patients, dict.fromkeys(classes, 1), heads)


def probed(result: TargetResult) -> Probed:
    width = max(1, len(result.target.classes))
    even = np.full((2, width), 0.5)
    said = tuple(Said(one.source, one.head, even, even, (1.0,)) for one in result.heads)
    return Probed(result.target, np.array(["x", "y"]), np.array([1, 2]), said)


@pytest.mark.parametrize(
    ("kind", "difference", "words"),
    [
        ("classes", Interval(0.1, 0.02, 0.2), "better than size (+0.100 [+0.020, +0.200])"),
        ("classes", Interval(-0.1, -0.2, -0.02), "worse than size"),
        ("classes", Interval(0.1, -0.02, 0.2), "not told apart from size"),
        ("number", Interval(-2, -3, -1), "better than size (-2.000 [-3.000, -1.000])"),
        ("number", Interval(2, 1, 3), "worse than size"),
        ("number", Interval(2, float("nan"), float("nan")), "not told apart from size"),
    ],
)
def test_the_verdict_follows_the_interval(kind: Kind, difference: Interval, words: str) -> None:
    told = verdict(result(kind, difference))
    score = "AUROC" if kind == "classes" else "mean error"
    assert told.startswith(f"{score} of linear on pretrained features is {words}")


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_of_a_handful_of_patients_nothing_is_called_better(kind: Kind) -> None:
    told = verdict(result(kind, Interval(0.188, 0.188, 0.25), MIN_PATIENTS - 1))
    assert told == "Too few patients to tell what is better (9 patients, at least 10 needed)."


def test_names_from_anywhere_are_escaped(tmp_path: Path) -> None:
    results = [result(kind, Interval(1, 1, 1)) for kind in ("classes", "number")]
    path = write_probe_page(
        tmp_path / "x.html",
        results,
        [probed(one) for one in results],
        summary="Probed.",
        faults=[Fault("<u>bad</u>", "no scan")],
    )
    text = path.read_text()
    pages.require_whole(text)
    assert "<i>ill" not in text
    assert "<u>" not in text
    assert text.count("<polyline") == 2  # of the two pretrained heads of the classes
    assert "a number from 0 to 1." in text
