"""What curves say in words is what their numbers bear out."""

from __future__ import annotations

import numpy as np

from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.files import as_csv

CASES = tuple(f"case_{n}" for n in range(8))


def curves(*means: list[float], draws: int = 3, cases: int = 8) -> Curves:
    """Curves of two structures about some means by start and number of labels."""
    rng = np.random.default_rng(0)
    shape = (len(means), len(means[0]), draws, cases, 2)
    table = np.array(means)[..., None, None, None] + rng.uniform(-0.004, 0.004, shape)
    names = ("ours", "scratch", "other")[: len(means)]
    return Curves(names, (1, 5, 20)[: len(means[0])], CASES[:cases], ("a", "b"), table, 0)


def test_differences_are_told_only_where_they_show() -> None:
    found = curves([0.5, 0.7, 0.8], [0.4, 0.7, 0.85])
    assert [gain.verdict for gain in found.gains()] == ["better", "none", "worse"]
    better, worse, none, *_ = found.verdict()
    assert better.startswith("With 1 label ours is better than scratch: +0.1")
    assert worse.startswith("With 20 labels ours is worse than scratch: -0.05")
    assert none.startswith("With 5 labels there is no difference between ours and scratch that")
    together = curves([0.5, 0.7], [0.4, 0.6]).verdict()[0]
    assert together.startswith("With 1, 5 labels ours is better than scratch: +0.")
    assert together.count("[+0.") == 2


def test_labels_that_are_saved_are_told_for_either_side() -> None:
    found = curves([0.72, 0.81, 0.9], [0.5, 0.6, 0.7], [0.8, 0.95, 0.96]).verdict()
    assert "ours with 1 label equals scratch with 20." in found
    assert not any(
        one.startswith("ours with 5 labels equals") for one in found
    )  # nothing more is saved
    assert "other with 5 labels equals ours with 20." in found
    assert not any(one.startswith("scratch with") and "equals" in one for one in found)


def test_nearly_full_is_measured_by_the_best_start() -> None:
    last = "ours with 5 labels reaches 0.97 of the Dice of other with 20, the most that were tried."
    assert curves([0.5, 0.8, 0.8], [0.3, 0.4, 0.5], [0.5, 0.6, 0.82]).verdict()[-1] == last
    never = curves([0.5, 0.6, 0.7], [0.5, 0.6, 0.9]).verdict()
    assert not any("reaches" in one for one in never)
    saves_none = [curves([0.5, 0.6, 0.9], [0.5, 0.6, 0.7]), curves([0.9]), curves([0.9], [0.4])]
    assert not any("reaches" in one for found in saves_none for one in found.verdict())


def test_of_nothing_nothing_is_said() -> None:
    nothing = curves([0.0, 0.0])
    zero = Curves(("ours", "scratch"), (1, 5), CASES, ("a", "b"), np.zeros((2, 2, 3, 8, 2)), 0)
    assert nothing.gains() == []
    assert len(zero.verdict()) == 1
    assert "With 1, 5 labels there is no difference" in zero.verdict()[0]
    single = curves([0.5], [0.4], draws=1, cases=1)
    assert single.gains()[0].verdict == "unknown"
    told = single.verdict()[0]
    assert told.startswith("With 1 label too little was scored to tell ours from scratch: +0.1")
    unscored = Curves(("ours", "scratch"), (1,), CASES, ("a",), np.full((2, 1, 3, 8, 1), np.nan), 0)
    assert unscored.verdict()[0].endswith("scratch: unknown.")


def test_marks_hold_the_mean_of_every_draw() -> None:
    found = curves([0.5, 0.7], [0.4, 0.6])
    marks = found.marks()
    assert [(mark.start, mark.labels) for mark in marks] == [
        ("ours", 1), ("ours", 5), ("scratch", 1), ("scratch", 5)
    ]  # fmt: skip
    np.testing.assert_allclose(marks[3].draws, found.table[1, 1].mean((1, 2)))
    assert marks[3].dice.low < marks[3].dice.mean < marks[3].dice.high


def test_the_table_has_a_line_for_every_score() -> None:
    found = curves([0.5, 0.7])
    found.table[0, 0, 0, 0, 0] = np.nan
    lines = as_csv(found).splitlines()
    assert len(lines) == 1 + 2 * 3 * 8 * 2 - 1
    start, labels, draw, case, structure, dice = lines[1].split(",")
    assert [start, labels, draw, case, structure] == ["ours", "1", "0", "case_0", "b"]
    assert float(dice) == round(float(found.table[0, 0, 0, 0, 1]), 6)
