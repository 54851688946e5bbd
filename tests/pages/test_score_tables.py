"""Tables of scores in CSV and LaTeX, and box plots."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from mass3d.metrics.cases import StructureScores
from mass3d.metrics.paired import compare_tables
from mass3d.metrics.scores import Seen
from mass3d.metrics.statistics import Interval
from mass3d.pages.box_plots import MAX_STRUCTURES, box_plot
from mass3d.pages.score_tables import paired_rows, paired_tex, scores_tex
from mass3d.transfer.evaluation.comparison import compared, verdict

MEAN, NOTHING = Interval(0.8126, 0.7, 0.9), Interval(math.nan, math.nan, math.nan)
SEEN = Seen(2, 2, 0, 0)


def test_latex_holds_every_structure_and_nothing_that_latex_takes_for_a_command() -> None:
    structures = {
        r"a_b & \c {50 %} ~^#$": StructureScores(1, MEAN, 2, SEEN, {"hd95_mm": Interval(3, 1, 9)}),
        "none": StructureScores(2, NOTHING, 0, SEEN, {"hd95_mm": NOTHING}),
    }
    text = scores_tex(structures, {"dice": MEAN, "hd95_mm": NOTHING})
    assert r"\begin{tabular}{lrrr}" in text
    escaped = r"a\_b \& \textbackslash{}c \{50 \%\} \textasciitilde{}\textasciicircum{}\#\$"
    assert escaped + r" & 2 & $0.813$ [$0.700$, $0.900$] & $3.00$ [$1.00$, $9.00$] \\" in text
    assert r"none & 0 & -- & -- \\" in text
    assert r"Mean &  & $0.813$ [$0.700$, $0.900$] & -- \\" in text
    assert text.count(r"\\") == 4


def test_a_comparison_in_latex_tells_differences_and_corrected_p_values() -> None:
    theirs = np.linspace(0.2, 0.6, 12)[:, None]
    found = compare_tables(theirs + 0.1, theirs, ["liver"], seed=0)
    text = paired_tex({"dice": found.structures})
    assert r"liver & 12 & $0.500$ & $0.400$ & $0.100$ [$0.100$, $0.100$]" in text
    assert "$<0.001$" in text
    empty = compare_tables(theirs * math.nan, theirs, ["liver"], seed=0)
    assert r"liver & 0 & -- & -- & -- & -- & -- \\" in paired_tex({"dice": empty.structures})
    few = compare_tables(theirs[:2] + 0.1, theirs[:2], ["liver"], seed=0)
    assert "$0.500$ \\\\" in paired_tex({"dice": few.structures})


def test_the_effect_of_every_case_is_a_row() -> None:
    ours = {"dice": {"a": {"x": 0.5, "y": 0.25}, "b": {"x": 1.0}, "c": {"x": 0.1}}}
    theirs = {"dice": {"a": {"x": 0.75}, "b": {"x": 0.5}}}
    rows = list(csv.DictReader(io.StringIO(paired_rows(ours, theirs))))
    assert [(row["case"], row["structure"], row["difference"]) for row in rows] == [
        ("a", "x", "-0.25"),
        ("b", "x", "0.5"),
    ]


def test_words_and_lists_of_a_comparison() -> None:
    ours = {"dice": {f"c{n}": {"x": 0.5 + n / 100} for n in range(10)}}
    theirs = {"dice": {f"c{n}": {"x": 0.4} for n in range(1, 12)}}
    found = compared(ours, theirs, ["x"], names=("one", "two"), seed=0)
    assert found.in_words().startswith("Dice is +0.150 [+")
    assert "beside two in 9 cases of both (higher, p = 0.0039" in found.in_words()
    plain = found.plain()
    assert (plain["cases"], plain["only_here"], plain["only_against"]) == (
        9,
        ["c0"],
        ["c10", "c11"],
    )
    assert found.metrics["dice"].structures["x"].n == 9
    back = compared(theirs, ours, ["x"], names=("two", "one"), seed=0)
    assert "(lower, " in back.in_words()
    alone = compared(ours, {"dice": {"z": {}}}, ["x"], names=("one", "two"), seed=0)
    assert alone.in_words() == "No case of two can be compared."
    one = compared(ours, {"dice": {"c1": {"x": 0.4}}}, ["x"], names=("one", "two"), seed=0)
    assert one.in_words() == (
        "Dice is +0.110 beside two in 1 case of both (no difference shown, p = 1)."
    )
    assert verdict(one.metrics["dice"].overall, math.nan) == "no difference shown"


@pytest.mark.parametrize("methods", [1, 2])
def test_a_box_plot_grows_with_its_structures_and_shows_any_name(methods: int) -> None:
    values = [[0.2, 0.4, 0.9]] * methods
    names = ("$x_{", "y" * 90)[:methods] if methods > 1 else ()
    one = box_plot({"$a_{$": values}, "Dice", names)
    many = box_plot({f"s{n}": values for n in range(MAX_STRUCTURES + 9)}, "Dice", names)
    assert one.dtype == np.uint8
    assert len(many) > 5 * len(one)
    assert (one[0, 0] == 255).all()  # white
    assert (one < 128).all(-1).any()  # ink
    np.testing.assert_array_equal(one, box_plot({"$a_{$": values}, "Dice", names))
