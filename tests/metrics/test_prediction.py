"""Scores of predictions, against scikit-learn's with the scans really drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from mass3d.metrics.prediction import (
    PER_BIN,
    auroc,
    average_precision,
    balanced_accuracy,
    calibration,
    class_scores,
    interval,
    mean_absolute_error,
    number_scores,
    patient_weights,
    r2,
    scored,
)

COUNT = 60


def draws(seed: int = 0) -> np.ndarray:
    """Five draws of 60 scans."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(COUNT, np.full(COUNT, 1 / COUNT), size=5).astype(float)


@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_areas_are_those_of_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(COUNT) < 0.3
    scores = (truth + rng.normal(size=COUNT)).round(decimals)
    areas, precisions = auroc(scores, truth, draws()), average_precision(scores, truth, draws())
    for row, weight in enumerate(draws()):
        drawn = np.repeat(np.arange(COUNT), weight.astype(int))
        assert areas[row] == pytest.approx(metrics.roc_auc_score(truth[drawn], scores[drawn]))
        expected = metrics.average_precision_score(truth[drawn], scores[drawn])
        assert precisions[row] == pytest.approx(expected)


def test_accuracy_and_errors_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth, said = rng.integers(3, size=(2, COUNT))
    number = rng.normal(size=COUNT)
    near = number + 0.3 * rng.normal(size=COUNT)
    for row, weight in enumerate(draws()):
        drawn = np.repeat(np.arange(COUNT), weight.astype(int))
        assert balanced_accuracy(said, truth, draws())[row] == pytest.approx(
            metrics.balanced_accuracy_score(truth[drawn], said[drawn])
        )
        error = metrics.mean_absolute_error(number[drawn], near[drawn])
        assert mean_absolute_error(near, number, draws())[row] == pytest.approx(error)
        share = metrics.r2_score(number[drawn], near[drawn])
        assert r2(near, number, draws())[row] == pytest.approx(share)
    found = number_scores(near, number, draws())
    assert set(found) == {"mae", "r2"}


def test_several_classes_are_each_found_among_all_others() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=COUNT)
    raw = np.eye(3)[truth] + rng.random((COUNT, 3))
    said = raw / raw.sum(axis=1, keepdims=True)
    once = np.ones((1, COUNT))
    found = class_scores(said, said.argmax(axis=1), truth, once)
    assert found["auroc"][0] == pytest.approx(
        metrics.roc_auc_score(truth, said, multi_class="ovr", average="macro")
    )
    two = class_scores(said[:, :2], said[:, :2].argmax(axis=1), truth % 2, once)
    assert two["auroc"][0] == pytest.approx(metrics.roc_auc_score(truth % 2, said[:, 1]))


def test_a_draw_without_a_class_is_not_scored_and_left_out() -> None:
    truth, scores = np.array([True, False, False]), np.array([0.9, 0.1, 0.2])
    weights = np.array([[1.0, 1, 1], [0, 1, 2], [2, 1, 0]])
    areas = auroc(scores, truth, weights)
    assert np.isnan(areas).tolist() == [False, True, False]
    assert interval(areas).in_words() == "1.000 [1.000, 1.000]"
    assert interval(np.array([0.7, np.nan])).in_words() == "0.700"


def test_patients_are_drawn_with_all_of_their_scans() -> None:
    weights = patient_weights(["b", "a", "b", "c"], seed=0, resamples=300)
    assert weights.shape == (301, 4)
    assert weights[0].tolist() == [1, 1, 1, 1]
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(
        weights, patient_weights(["b", "a", "b", "c"], seed=0, resamples=300)
    )
    assert weights[1:, 1].mean() == pytest.approx(1, abs=0.15)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    truth, said, weights = rng.normal(size=20), rng.normal(size=20), rng.random((33, 20))
    whole = scored(lambda some: number_scores(said, truth, some), weights)
    monkeypatch.setattr("mass3d.metrics.prediction.BLOCK", 100)
    parts = scored(lambda some: number_scores(said, truth, some), weights)
    np.testing.assert_allclose(whole["mae"], parts["mae"])


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of the mean error of numbers whose mean error is known."""
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth, said = np.zeros(80), rng.normal(size=80)
        weights = patient_weights([str(i) for i in range(80)], seed=seed, resamples=300)
        found = interval(mean_absolute_error(said, truth, weights))
        inside += found.low < np.sqrt(2 / np.pi) < found.high
    assert 51 <= inside <= 60


def test_a_calibration_curve_is_a_diagonal_for_what_is_calibrated() -> None:
    rng = np.random.default_rng(5)
    said = rng.random(5000)
    curve = calibration(said, rng.random(5000) < said)
    assert len(curve) == 10
    assert sum(cases for *_, cases in curve) == 5000
    assert max(abs(mean - share) for mean, share, _ in curve) < 0.08
    assert len(calibration(said[:25], said[:25] > 2)) == 25 // PER_BIN
    assert len(calibration(said[:3], said[:3] > 2)) == 1
