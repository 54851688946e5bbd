"""Learning rates over a run."""

from __future__ import annotations

import pytest

from mass3d.training.schedule import constant, warmup_cosine
from oracles import training as oracle


@pytest.mark.parametrize("steps", [1, 2, 7, 40, 333])
def test_the_rate_rises_and_falls_as_the_plain_formula(steps: int) -> None:
    for step in range(steps):
        rate = 0.3 * warmup_cosine((step + 1) / (steps + 1))
        assert rate == pytest.approx(oracle.rate(step, steps, peak=0.3))
        assert 0 < rate <= 0.3


def test_the_peak_is_where_the_warm_up_ends() -> None:
    assert warmup_cosine(0.25, warmup=0.25) == pytest.approx(1.0)
    assert warmup_cosine(0.0) == 0.0
    assert warmup_cosine(1.0) == pytest.approx(0.0)


def test_a_constant_rate_stays() -> None:
    assert {constant(progress / 7) for progress in range(8)} == {1.0}
