"""Curves are placed where their numbers say."""

from __future__ import annotations

import math

import pytest

from mass3d.pages.chart import BOTTOM, LEFT, MAX_POINTS, RIGHT, TOP, Series, make_chart


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_a_line_goes_from_corner_to_corner() -> None:
    rows = [(0, 2.0), (50, math.nan), (60, math.inf), (100, 4.0)]
    chart = make_chart("Loss", [Series("loss", rows)], steps=100)
    assert points(chart.lines[0].points) == [(LEFT, BOTTOM), (RIGHT, TOP)]
    assert [text for _, text in chart.across] == ["0", "20", "40", "60", "80", "100"]
    assert [text for _, text in chart.up][0::4] == ["2", "3", "4"]
    assert chart.up[0][0] == BOTTOM
    assert chart.up[-1][0] == TOP


def test_a_level_crosses_the_box_and_counts_for_the_axis() -> None:
    series = [Series("dice", [(10, 0.5)]), Series("affine", level=1.0)]
    chart = make_chart("Dice", series, steps=20, floor=0.0)
    assert points(chart.lines[0].points) == [((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)]
    assert points(chart.lines[1].points) == [(LEFT, TOP), (RIGHT, TOP)]
    assert [line.dashed for line in chart.lines] == [False, True]
    assert chart.lines[0].colour != chart.lines[1].colour


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-9, 1e9])
def test_a_single_value_has_axes_with_a_few_round_numbers(value: float) -> None:
    chart = make_chart("", [Series("x", [(1, value)])], steps=1)
    assert 3 <= len(chart.up) <= 10
    assert all(TOP - 0.1 <= y <= BOTTOM + 0.1 for y, _ in chart.up)


def test_nothing_measured_yet_is_an_empty_box() -> None:
    chart = make_chart("", [Series("x")], steps=700)
    assert chart.lines[0].points == ""
    assert len(chart.up) > 2


def test_a_long_run_is_averaged() -> None:
    rows = [(step, float(step % 2)) for step in range(10 * MAX_POINTS)]
    drawn = points(make_chart("", [Series("x", rows)], steps=10 * MAX_POINTS).lines[0].points)
    assert len(drawn) == MAX_POINTS
    assert len({y for _, y in drawn}) == 1
