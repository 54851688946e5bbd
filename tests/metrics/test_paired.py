"""Paired comparisons against tests written out, and against their own promises."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from mass3d.metrics.paired import (
    Paired,
    compare,
    compare_tables,
    holm,
    sign_flips,
    signed_ranks,
)
from mass3d.metrics.statistics import bootstrap_mean

NAN = math.nan


def plain_flips(differences: list[float]) -> float:
    """Every combination of signs, one after the other."""
    sums = [
        abs(sum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    return sum(one >= abs(sum(differences)) - 1e-12 for one in sums) / len(sums)


def plain_ranks(differences: list[float]) -> float:
    """Wilcoxon's exact test: all ways in which ranks may have signs."""
    order = sorted(range(len(differences)), key=lambda n: abs(differences[n]))
    ranks = {place: rank + 1 for rank, place in enumerate(order)}
    found = sum(rank for place, rank in ranks.items() if differences[place] > 0)
    middle = sum(ranks.values()) / 2
    sums = [
        sum(rank for rank, chosen in zip(ranks.values(), which, strict=True) if chosen)
        for which in product((0, 1), repeat=len(differences))
    ]
    return sum(abs(one - middle) >= abs(found - middle) for one in sums) / len(sums)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_both_tests_count_what_they_say(count: int, shift: float) -> None:
    differences = np.random.default_rng(count).normal(shift, 0.3, count)
    assert sign_flips(differences, seed=0) == pytest.approx(plain_flips(differences.tolist()))
    assert signed_ranks(differences) == pytest.approx(plain_ranks(differences.tolist()))


def test_many_differences_are_tried_at_random_and_come_near_the_normal_law() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.5, 60)
    z = differences.sum() / math.sqrt(float((differences**2).sum()))
    assert sign_flips(differences, seed=1) == pytest.approx(
        math.erfc(abs(z) / math.sqrt(2)), abs=0.02
    )
    assert sign_flips(differences, seed=1) == sign_flips(differences[::-1], seed=1)
    assert sign_flips(np.full(60, 1.0), seed=1) == pytest.approx(1 / 20_001)
    tied = np.array([0.5, 0.5, -0.5, 0.25, 0.0, 0.25])
    assert 0 < signed_ranks(tied) <= 1


@pytest.mark.parametrize("size", [1e-6, 1.0, 50.0, 5_000.0, 2e7])
@pytest.mark.parametrize("count", range(6, 13))
def test_differences_of_one_sign_are_two_flips_of_all_in_every_unit(
    size: float, count: int
) -> None:
    """Volumes of litres in ml, as counts of voxels give them, are not whole numbers."""
    rng = np.random.default_rng(count)
    for _ in range(20):
        voxel = rng.uniform(0.0005, 0.02)
        theirs, more = (rng.integers(1, int(1 / voxel), count) * voxel * size for _ in range(2))
        differences = (theirs + more) - theirs
        assert sign_flips(differences, seed=0) == 2 / 2**count
        assert sign_flips(-differences, seed=0) == 2 / 2**count


@pytest.mark.parametrize("count", [15, 40])
def test_drawn_flips_count_the_true_one(count: int) -> None:
    differences = np.random.default_rng(count).uniform(0.1, 9_000, count)
    assert sign_flips(differences, seed=0) >= 1 / 20_001
    assert sign_flips(differences / 1e9, seed=0) == sign_flips(differences, seed=0)


def test_no_difference_is_no_evidence() -> None:
    assert signed_ranks(np.zeros(5)) == 1
    assert sign_flips(np.zeros(5), seed=0) == 1
    assert sign_flips(np.zeros(30), seed=0) == 1


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, NAN]) == pytest.approx([0.03, 0.06, 0.06, NAN], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_cases_that_one_method_lacks_are_left_out() -> None:
    ours, theirs = np.array([0.9, NAN, 0.5, 0.7]), np.array([0.8, 0.1, NAN, 0.4])
    found = compare(ours, theirs, seed=2)
    assert (found.n, found.ours, found.theirs) == (2, pytest.approx(0.8), pytest.approx(0.6))
    assert found.difference == bootstrap_mean(np.array([0.9 - 0.8, 0.7 - 0.4]), seed=2)
    nothing = compare(ours, np.full(4, NAN), seed=2)
    assert nothing.n == 0
    assert nothing.plain()["difference"] == {"mean": None, "ci95": None}
    assert nothing.plain()["wilcoxon"] is None


def test_tables_are_compared_by_structure_and_over_all() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((12, 3)), rng.random((12, 3))
    ours[4:, 2] = theirs[:2, 1] = NAN
    ours[:, 0] = theirs[:, 0] + 0.2
    found = compare_tables(ours, theirs, ["a", "b", "c"], seed=0)
    assert [one.n for one in found.structures.values()] == [12, 10, 4]
    assert found.structures["a"].difference.mean == pytest.approx(0.2)
    assert found.structures["a"].permutation == pytest.approx(2 / 2**12)
    assert found.structures["a"].permutation_holm == pytest.approx(3 * 2 / 2**12)
    both = np.isfinite(ours) & np.isfinite(theirs)
    means = [
        float(np.mean([ours[n, s] - theirs[n, s] for s in range(3) if both[n, s]]))
        for n in range(12)
    ]
    assert found.overall.difference.mean == pytest.approx(np.mean(means))
    assert isinstance(found.overall, Paired)
    assert set(found.plain()) == {"overall", "structures"}
