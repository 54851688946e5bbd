"""Means over draws and cases with intervals over both."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mass3d.metrics.crossed import crossed_mean, plain_mean
from mass3d.metrics.statistics import bootstrap_mean_of_means


def test_the_mean_is_that_of_structures_over_draws_and_cases() -> None:
    table = np.array([[[0.2, 0.8], [0.4, np.nan]], [[0.6, 1.0], [0.8, np.nan]]])
    assert plain_mean(table) == pytest.approx((0.5 + 0.9) / 2)
    assert crossed_mean(table, seed=0).mean == pytest.approx(0.7)


def test_intervals_cover_what_a_plain_loop_draws() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(size=(3, 12, 2)) + rng.normal(0, 0.2, (3, 1, 1))
    found = crossed_mean(table, seed=0)
    means = [
        table[rng.integers(3, size=3)][:, rng.integers(12, size=12)].mean() for _ in range(4000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert found == crossed_mean(table, seed=0)


def test_of_one_draw_only_cases_are_drawn() -> None:
    table = np.random.default_rng(1).uniform(size=(1, 20, 3))
    ours, plain = crossed_mean(table, seed=0), bootstrap_mean_of_means(table[0], seed=0)
    assert ours.mean == pytest.approx(plain.mean)
    assert ours.low == pytest.approx(plain.low, abs=0.01)
    assert ours.high == pytest.approx(plain.high, abs=0.01)
    turned = crossed_mean(table.transpose(1, 0, 2), seed=0)  # many draws of one case
    assert turned.low == pytest.approx(plain.low, abs=0.01)


def test_what_differs_between_draws_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    alike = np.repeat(rng.uniform(0.4, 0.6, (1, 10, 1)), 3, axis=0)
    apart = alike + np.array([-0.2, 0.0, 0.2]).reshape(3, 1, 1)
    narrow, wide = crossed_mean(alike, seed=0), crossed_mean(apart, seed=0)
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_too_little_is_told_as_unknown() -> None:
    one = crossed_mean(np.array([[[0.5, np.nan]]]), seed=0)
    assert one.mean == 0.5
    assert math.isnan(one.low)
    assert one.known == (0.5,)
    assert crossed_mean(np.full((2, 3, 1), np.nan), seed=0).known == ()
    part = np.full((2, 2, 1), np.nan)
    part[0, 0] = part[1, 1] = 0.5  # a resample may show nothing at all
    assert crossed_mean(part, seed=0).known == (0.5, 0.5, 0.5)
