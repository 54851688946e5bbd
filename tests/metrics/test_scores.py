"""Every metric of a score."""

from __future__ import annotations

import math

import pytest

from mass3d.metrics.lesions import Lesions
from mass3d.metrics.overlap import Overlap
from mass3d.metrics.scores import METRICS, Score, Seen, metrics_of
from mass3d.metrics.surface import UNSCORED, SurfaceScores


def test_a_score_has_every_metric() -> None:
    surface, lesions = SurfaceScores(0.9, 3.0, 1.5), Lesions(truth=4, found=3, predicted=5, false=2)
    score = Score(Overlap(truth=6, predicted=10, shared=4), 0.5, surface, lesions)
    assert {name: metric.of(score) for name, metric in METRICS.items()} == pytest.approx(
        {
            "dice": 0.5,
            "iou": 1 / 3,
            "volume_error_ml": 2.0,
            "volume_bias_ml": 2.0,
            "nsd": 0.9,
            "hd95_mm": 3.0,
            "asd_mm": 1.5,
            "lesion_sensitivity": 0.75,
            "false_lesions": 2,
        }
    )


def test_a_volume_that_is_too_small_has_a_negative_bias() -> None:
    score = Score(Overlap(truth=6, predicted=2, shared=2), 0.5)
    assert (score.volume_bias_ml, score.volume_error_ml) == (-2.0, 2.0)


def test_what_was_not_scored_is_not_a_number() -> None:
    score = Score(Overlap(0, 0, 0), 0.5, UNSCORED)
    unknown = {name for name, metric in METRICS.items() if math.isnan(metric.of(score))}
    assert unknown == {"dice", "iou", "nsd", "hd95_mm", "asd_mm", "lesion_sensitivity"}


def test_surfaces_and_lesions_are_scored_where_that_is_asked_for() -> None:
    plain = metrics_of(surface=False, lesions=False)
    assert list(plain) == ["dice", "iou", "volume_error_ml", "volume_bias_ml"]
    surfaces, lesions = (metrics_of(surface=one, lesions=not one) for one in (True, False))
    assert surfaces.keys() - plain.keys() == {"nsd", "hd95_mm", "asd_mm"}
    assert lesions.keys() - plain.keys() == {"lesion_sensitivity", "false_lesions"}
    assert metrics_of(surface=True, lesions=True) == METRICS


def test_where_a_value_was_seen_is_counted() -> None:
    overlaps = [Overlap(1, 1, 0), Overlap(2, 0, 0), Overlap(0, 3, 0), Overlap(0, 0, 0)]
    assert Seen.of(overlaps) == Seen(n_labelled=2, n_predicted=2, n_missed=1, n_extra=1)
