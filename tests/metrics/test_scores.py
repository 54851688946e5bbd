"""Every metric of a score."""

from __future__ import annotations

import math

import pytest

from mass3d.metrics.overlap import Overlap
from mass3d.metrics.scores import METRICS, Score, Seen, metrics_of
from mass3d.metrics.surface import UNSCORED, SurfaceScores


def test_a_score_has_every_metric() -> None:
    score = Score(Overlap(truth=6, predicted=10, shared=4), 0.5, SurfaceScores(0.9, 3.0, 1.5))
    assert {name: metric.of(score) for name, metric in METRICS.items()} == pytest.approx(
        {
            "dice": 0.5,
            "iou": 1 / 3,
            "volume_error_ml": 2.0,
            "nsd": 0.9,
            "hd95_mm": 3.0,
            "asd_mm": 1.5,
        }
    )


def test_what_was_not_scored_is_not_a_number() -> None:
    score = Score(Overlap(0, 0, 0), 0.5, UNSCORED)
    unknown = {name for name, metric in METRICS.items() if math.isnan(metric.of(score))}
    assert unknown == {"dice", "iou", "nsd", "hd95_mm", "asd_mm"}


def test_surfaces_are_scored_where_that_is_asked_for() -> None:
    assert list(metrics_of(surface=False)) == ["dice", "iou", "volume_error_ml"]
    assert metrics_of(surface=True) == METRICS


def test_where_a_value_was_seen_is_counted() -> None:
    overlaps = [Overlap(1, 1, 0), Overlap(2, 0, 0), Overlap(0, 3, 0), Overlap(0, 0, 0)]
    assert Seen.of(overlaps) == Seen(n_labelled=2, n_predicted=2, n_missed=1, n_extra=1)
