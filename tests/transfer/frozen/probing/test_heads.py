"""Heads learn what is there, and nothing from what they are asked of."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mass3d.transfer.frozen.probing.attentive import STEPS, attentive
from mass3d.transfer.frozen.probing.folds import Learning, learning
from mass3d.transfer.frozen.probing.heads import (
    NEIGHBOURS,
    PENALTIES,
    ROW_HEADS,
    STRENGTHS,
    _neighbours,
    by_frequency,
    linear,
    loss,
    neighbours,
)
from mass3d.transfer.frozen.probing.labels import Kind, Target

Rows = np.ndarray


def learned(truth: Rows, classes: int) -> Learning:
    names = tuple(str(i) for i in range(classes))
    cases = tuple(f"c{i}" for i in range(len(truth)))
    kind: Kind = "classes" if classes else "number"
    target = Target("x", kind, names, cases, truth.astype(float), ())
    return learning(target, np.array(cases), np.arange(len(truth)), seed=0)


def told_apart(classes: int, seed: int = 0) -> tuple[Rows, Rows, Rows, Rows]:
    """Rows of 20 features of which the first are the class or the number, with other units."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=100) if classes else rng.normal(size=100)
    signal = np.eye(classes)[truth] * 3 if classes else truth[:, None] * 3
    rows = rng.normal(size=(100, 20))
    rows[:, : signal.shape[1]] += signal
    rows *= 10.0 ** rng.integers(-3, 4, size=20)
    return rows[:70], truth[:70], rows[70:], truth[70:]


@pytest.mark.parametrize("name", ROW_HEADS)
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_heads_find_what_is_there(name: str, classes: int) -> None:
    train, truth, test, wanted = told_apart(classes)
    told = ROW_HEADS[name](train, learned(truth, classes), test)
    if classes:
        np.testing.assert_allclose(told.answers.sum(axis=1), 1)
        assert (told.answers.argmax(axis=1) == wanted).mean() > 0.65
    else:
        assert np.corrcoef(told.answers[:, 0], wanted)[0, 1] > 0.5


@pytest.mark.parametrize("name", ROW_HEADS)
@pytest.mark.parametrize("classes", [0, 2])
def test_an_answer_does_not_depend_on_what_else_is_asked(name: str, classes: int) -> None:
    """A scale or a choice fitted to all rows would."""
    train, truth, test, _ = told_apart(classes, seed=1)
    head, known = ROW_HEADS[name], learned(truth, classes)
    whole = head(train, known, test)
    alone = head(train, known, test[:1])
    strange = head(train, known, np.vstack([test[:1], 1000 * test[1:]]))
    np.testing.assert_allclose(alone.answers[0], whole.answers[0], rtol=1e-6)
    np.testing.assert_allclose(strange.answers[0], whole.answers[0], rtol=1e-6)
    assert alone.chosen == strange.chosen == whole.chosen


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    rng = np.random.default_rng(3)
    truth = (np.arange(200) % 10 == 0).astype(int)
    rows = rng.normal(size=(200, 1)) + 1.5 * truth[:, None]
    for head in (linear, neighbours):
        known = learned(truth, 2)
        told = head(rows, known, rows)
        called = told.answers.argmax(axis=1)
        assert (called[truth == 1] == 1).mean() > 0.6
        frequent = by_frequency(told.answers, known)
        np.testing.assert_allclose(frequent.sum(axis=1), 1)
        assert frequent[:, 1].mean() == pytest.approx(0.1, abs=0.05)
    number = learned(rng.normal(size=30), 0)
    assert by_frequency(np.ones((2, 1)), number).tolist() == [[1.0], [1.0]]


def test_rows_that_are_equally_far_share_the_votes() -> None:
    """Whichever stands first in the table."""
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [1.0], [5.0]])
    truth = np.array([0, 0, 0, 1, 1, 1])
    for order in (np.arange(6), np.arange(6)[::-1]):
        told = _neighbours(1, rows[order], truth[order].astype(float), np.zeros((1, 1)), 2)
        # three quarters of a vote and a quarter, and one of each beforehand
        assert told[0] == pytest.approx([(0.5 + 0.75) / 2, (0.5 + 0.25) / 2])
        number = _neighbours(5, rows[order], 10.0 * truth[order], np.zeros((1, 1)), 0)
        assert number[0] == pytest.approx([4.0])


def test_inner_folds_choose_strong_regularisation_for_noise() -> None:
    rng = np.random.default_rng(4)
    train = rng.normal(size=(60, 200))
    for head, options in ((linear, STRENGTHS), (neighbours, NEIGHBOURS)):
        noise = head(train, learned(rng.integers(2, size=60), 2), train[:3]).chosen
        assert noise in (options[:4] if head is linear else options[2:])
    ridge = linear(train, learned(rng.normal(size=60), 0), train[:3]).chosen
    assert ridge in PENALTIES[3:]


def test_without_inner_folds_the_middle_option_is_taken() -> None:
    truth = np.array([0, 0, 0, 1])
    told = linear(np.eye(4), learned(truth, 2), np.eye(4))
    assert told.chosen == STRENGTHS[len(STRENGTHS) // 2]


def test_the_loss_is_balanced() -> None:
    answers = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    expected = (-np.log(0.9) - np.log(0.6)) / 2
    assert loss(answers, np.array([0.0, 0, 0, 1]), 2) == pytest.approx(expected)
    assert loss(np.array([[1.0], [3.0]]), np.array([0.0, 0.0]), 0) == 5.0


def spots(classes: int, seed: int = 0) -> tuple[list[Rows], Rows]:
    """Scans whose means say nothing: a few odd cells do, of many that vary far more."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=80) if classes else rng.random(80)
    scans = []
    for value in truth:
        cells = rng.normal(size=(int(rng.integers(60, 400)), 8))
        cells[:, 1] += 2 * rng.normal()
        cells[:8, 2] = 10
        cells[:8, 1] = 12 * value - 6
        scans.append(cells.astype(np.float16))
    return scans, truth


def test_queries_find_the_cells_that_matter() -> None:
    scans, truth = spots(2)
    told = attentive(scans[:60], learned(truth[:60], 2), scans[60:])
    np.testing.assert_allclose(told.answers.sum(axis=1), 1)
    assert roc_auc_score(truth[60:], told.answers[:, 1]) > 0.9
    rows = np.stack([one.mean(axis=0, dtype=float) for one in scans])
    means = linear(rows[:60], learned(truth[:60], 2), rows[60:])
    assert roc_auc_score(truth[60:], means.answers[:, 1]) < 0.85
    again = attentive(scans[:60], learned(truth[:60], 2), scans[60:])
    np.testing.assert_array_equal(again.answers, told.answers)
    alone = attentive(scans[:60], learned(truth[:60], 2), scans[60:61])
    np.testing.assert_allclose(alone.answers[0], told.answers[0], rtol=1e-5)
    assert 0 < told.chosen <= STEPS


def test_queries_read_off_numbers() -> None:
    scans, truth = spots(0)
    told = attentive(scans[:60], learned(truth[:60], 0), scans[60:])
    assert np.corrcoef(told.answers[:, 0], truth[60:])[0, 1] > 0.6


def test_queries_do_without_inner_folds() -> None:
    scans, _ = spots(2)
    told = attentive(scans[:4], learned(np.array([0, 0, 0, 1]), 2), scans[4:6])
    assert told.chosen == STEPS
    assert told.answers.shape == (2, 2)
