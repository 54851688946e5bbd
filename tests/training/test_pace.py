"""The pace of steps, the share that waits, and the forecast of a whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mass3d.training.config import FitConfig
from mass3d.training.pace import Forecast, Pace


class Clock:
    """Seconds that go by when they are told to."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def slow(clock: Clock, seconds: float, count: int) -> Iterator[int]:
    for number in range(count):
        clock.s += seconds
        yield number


def test_a_pace_counts_steps_and_what_is_waited_for_batches() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    batches = pace.timed(slow(clock, 0.5, 4))
    for number in range(4):
        assert next(batches) == number
        clock.s += 1.5
    assert pace.steps_per_s(14) == pytest.approx(0.5)
    assert pace.wait_share() == pytest.approx(0.25)
    clock.s += 60  # hooks: not counted, once it is begun anew
    pace.restart(14)
    clock.s += 2
    assert pace.steps_per_s(16) == pytest.approx(1.0)
    assert pace.wait_share() == 0
    assert list(batches) == []


def run_for(steps: int, seconds: float, *, begin: int = 0) -> None:
    """Steps that take so long, by a clock, with a forecast."""
    clock = Clock()
    config = FitConfig(steps=steps)
    forecast = Forecast(config, step=begin, device=torch.device("cpu"), now=clock)
    for step in range(begin + 1, steps + 1):
        clock.s += seconds if step > begin + 1 else 50.0  # the first is no measure
        forecast(step, 8)


def test_a_forecast_is_told_once_after_the_third_step(capsys: pytest.CaptureFixture[str]) -> None:
    run_for(100, 6.0, begin=7)
    said = capsys.readouterr().err
    assert said.startswith(
        "The 90 steps of 8 samples that are left take about 9 min, at 6 s a step"
    )
    assert "GiB of the machine at the peak so far" in said
    assert said.count("\n") == 1


def test_what_ends_soon_is_not_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    run_for(12, 6.0)
    run_for(2, 600.0)
    assert capsys.readouterr().err == ""
