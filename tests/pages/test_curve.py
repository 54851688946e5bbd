"""The page of a curve: its plot lies where the numbers say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from mass3d.metrics.statistics import Interval
from mass3d.pages.curve import BOTTOM, TOP, make_plot, write_curve_page
from mass3d.transfer.curves.curves import Curves, Mark

NOBODY = Interval(math.nan, math.nan, math.nan)


def mark(start: str, labels: int, *dice: float) -> Mark:
    ends = dice if len(dice) == 3 else (dice[0], math.nan, math.nan)
    return Mark(start, labels, (), Interval(*ends))


def test_marks_lie_by_the_logarithm_of_labels_and_by_dice() -> None:
    marks = [
        mark("ours", 1, 0.5, 0.4, 0.6),
        mark("ours", 10, 0.7),
        mark("ours", 100, 0.8, 0.75, 0.9),
        Mark("scratch", 1, (), NOBODY),
        mark("scratch", 10, 0.4),
    ]
    plot = make_plot(marks)
    ours, scratch = plot.lines
    assert len(ours.marks) == 3
    assert len(scratch.marks) == 1
    first, second, third = ours.marks
    assert second.x - first.x == pytest.approx(third.x - second.x)
    assert first.y == pytest.approx(BOTTOM - (BOTTOM - TOP) * (0.5 - 0.4) / 0.5)
    assert first.low == pytest.approx(BOTTOM)
    assert third.high == pytest.approx(TOP)
    assert second.low is None
    assert scratch.marks[0].y == pytest.approx(BOTTOM)
    assert scratch.marks[0].x != second.x  # beside each other
    assert [text for _, text in plot.across] == ["1", "10", "100"]
    assert plot.up[0][1] == "0.40"


def test_one_number_of_labels_without_a_score_can_be_drawn() -> None:
    assert make_plot([]).lines == ()  # no label shows any structure
    plot = make_plot([Mark("ours", 3, (), NOBODY)])
    assert plot.lines[0].marks == ()
    assert plot.up[0][1] == "0.00"
    assert plot.up[-1][1] == "1.00"


def test_a_page_needs_no_other_file_and_says_all(tmp_path: Path) -> None:
    table = np.full((2, 2, 3, 4, 1), 0.5)
    table[0] += 0.2
    curves = Curves(("<ours>", "scratch"), (1, 5), ("a", "b", "c", "d"), ("x",), table, 0)
    page = write_curve_page(tmp_path, curves, warnings=["something odd"])
    text = page.read_text()
    assert "With 1, 5 labels &lt;ours&gt; is better than scratch" in text
    assert "Warning: something odd." in text
    assert "<svg" in text
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    drawn = ET.parse(tmp_path / "curve.svg").getroot()
    assert sum(one.tag.endswith("circle") for one in drawn.iter()) == 4
