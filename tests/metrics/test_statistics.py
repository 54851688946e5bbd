import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mass3d.metrics import statistics
from mass3d.metrics.statistics import Interval, bootstrap_mean, bootstrap_mean_of_means
from oracles import metrics as oracle

Reals = NDArray[np.float64]
NAN = math.nan
SCORES = st.one_of(st.floats(0, 1), st.just(NAN))


def same(a: Interval, b: Interval) -> bool:
    """Equal to the last bit, NaN being equal to itself."""
    return np.array_equal([a.mean, a.low, a.high], [b.mean, b.low, b.high], equal_nan=True)


def test_no_value_has_no_mean_and_one_value_no_interval() -> None:
    assert same(bootstrap_mean(np.array([]), seed=0), Interval(NAN, NAN, NAN))
    assert same(bootstrap_mean(np.array([NAN, NAN]), seed=0), Interval(NAN, NAN, NAN))
    assert same(bootstrap_mean(np.array([0.5]), seed=0), Interval(0.5, NAN, NAN))
    assert same(bootstrap_mean(np.array([NAN, 0.5]), seed=0), Interval(0.5, NAN, NAN))


def test_equal_values_have_an_interval_of_no_width() -> None:
    interval = bootstrap_mean(np.full(7, 0.25), seed=0)
    assert interval == Interval(0.25, 0.25, 0.25)


@given(hnp.arrays(np.float64, st.integers(0, 8), elements=SCORES), st.randoms())
def test_neither_order_nor_unscored_cases_change_an_interval(values: Reals, random: Random) -> None:
    first = bootstrap_mean(values, seed=3, resamples=50)
    shuffled = [*values, NAN]
    random.shuffle(shuffled)
    assert same(bootstrap_mean(np.array(shuffled), seed=3, resamples=50), first)


@given(hnp.arrays(np.float64, st.integers(2, 12), elements=st.floats(0, 1)), st.integers(0, 99))
def test_an_interval_holds_its_mean_and_lies_among_the_values(values: Reals, seed: int) -> None:
    found = bootstrap_mean(values, seed=seed)
    assert found.mean == pytest.approx(sum(values) / len(values))
    least, low, mean, high, most = min(values), found.low, found.mean, found.high, max(values)
    assert least - 1e-12 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= most + 1e-12


@st.composite
def tables(draw: st.DrawFn) -> Reals:
    """Scores (cases, structures) with gaps, but for the first structure."""
    shape = draw(st.tuples(st.integers(2, 6), st.integers(1, 3)))
    table = draw(hnp.arrays(np.float64, shape, elements=SCORES))
    table[:, 0] = np.nan_to_num(table[:, 0])
    return table


@given(tables())
def test_the_ends_are_those_of_drawing_whole_cases_one_by_one(table: Reals) -> None:
    found = bootstrap_mean_of_means(table, seed=5, level=0.8, resamples=40)
    rows = table[np.lexsort(table.T)].tolist()  # the order in which cases are numbered
    drawn = np.random.default_rng(5).integers(len(rows), size=(40, len(rows)))
    low, high = oracle.resampled_ends(rows, drawn, level=0.8)
    assert found.mean == pytest.approx(oracle.mean_of_means(rows))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_structures_weigh_the_same_however_many_cases_show_them() -> None:
    table = np.array([[0.8, NAN, NAN], [0.6, NAN, NAN], [0.4, 0.2, NAN]])
    assert bootstrap_mean_of_means(table, seed=0).mean == pytest.approx((0.6 + 0.2) / 2)


def test_a_table_of_one_structure_is_a_list_of_values() -> None:
    values = np.random.default_rng(0).random(9)
    assert bootstrap_mean_of_means(values[:, None], seed=1) == bootstrap_mean(values, seed=1)


def test_the_seed_decides_the_interval_and_only_the_interval() -> None:
    values = np.random.default_rng(0).random(9)
    first, again, other = (bootstrap_mean(values, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.mean == other.mean
    assert (first.low, first.high) != (other.low, other.high)


def test_drawing_in_smaller_blocks_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(9)
    whole = bootstrap_mean(values, seed=1, resamples=100)
    monkeypatch.setattr(statistics, "BLOCK", 20)
    assert bootstrap_mean(values, seed=1, resamples=100) == whole


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_intervals_hold_the_true_mean_about_as_often_as_they_say(level: float) -> None:
    rng = np.random.default_rng(100)
    held, times = 0, 1500  # by chance alone the share moves by 0.013
    for seed in range(times):
        values = rng.beta(8, 2, 30)  # skewed like Dice; its mean is 0.8
        interval = bootstrap_mean(values, seed=seed, level=level, resamples=500)
        held += interval.low <= 0.8 <= interval.high
    assert held / times == pytest.approx(level, abs=0.04)
