"""The page of evaluate: structures, and cases from the worst on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

import pages
from mass3d.execution.faults import Fault
from mass3d.metrics.scores import METRICS, Seen
from mass3d.metrics.statistics import Interval
from mass3d.pages import evaluate as evaluate_page
from mass3d.pages.evaluate import StructureRow, write_evaluate_page

PICTURE = "data:image/jpeg;base64,AAAA"
MEAN = Interval(0.7, 0.6, 0.8)
NOTHING = Interval(math.nan, math.nan, math.nan)
OTHERS = ((METRICS["hd95_mm"], 2.345),)
ROWS = (
    StructureRow("liver", 1, MEAN, 2, Seen(2, 3, 0, 1), OTHERS),
    StructureRow("<b>cyst</b>", 2, NOTHING, 0, Seen(0, 0, 0, 0), OTHERS),
)


def page(
    path: Path,
    dice: dict[str, dict[str, float]],
    *,
    faults: Sequence[Fault] = (),
    without_prediction: Sequence[str] = (),
) -> str:
    written = write_evaluate_page(
        path / "evaluate.html",
        mean=MEAN,
        structures=ROWS,
        dice=dice,
        pictures=dict.fromkeys(dice, PICTURE),
        summary="Mean Dice 0.7.",
        without_prediction=without_prediction,
        faults=faults,
    )
    text = written.read_text()
    pages.require_whole(text)
    return text


def test_the_worst_case_comes_first_and_one_without_scores_last(tmp_path: Path) -> None:
    dice = {"good": {"liver": 0.9}, "bad": {"liver": 0.2, "x": 0.4}, "none": {}}
    text = page(tmp_path, dice, faults=(Fault("gone", "no label"),), without_prediction=("z",))
    places = [text.index(f'<td class="name">{name}</td>') for name in ("bad", "good", "none")]
    assert places == sorted(places)
    assert text.index("no label") < places[0]
    assert ">0.300</td>" in text
    assert "liver&nbsp;0.20, x&nbsp;0.40" in text
    assert text.index("1 label has no prediction</h2>") < text.index("<h2>The structures</h2>")
    assert "cost nothing in any mean: z." in text


def test_structures_have_their_interval_and_counts(tmp_path: Path) -> None:
    text = page(tmp_path, {"a": {"liver": 0.7}})
    assert "left:60.0%;width:20.0%" in text
    assert "0.700 [0.600, 0.800]" in text
    assert "<td>2</td><td>2</td><td>3</td><td>0</td><td>1</td>" in text
    assert "&lt;b&gt;cyst" in text
    assert "<th>HD95, mm</th>" in text
    assert ">2.35</td>" in text or ">2.34</td>" in text


def test_only_the_worst_cases_have_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_page, "MAX_PICTURES", 2)
    monkeypatch.setattr(evaluate_page, "MAX_ROWS", 3)
    text = page(tmp_path, {f"c{n}": {"liver": n / 10} for n in range(4)})
    assert text.count(PICTURE) == 2
    assert text.count('<td class="name">') == 3
    assert "Pictures of the 2 worst" in text
    assert "The first 3 of 4" in text
