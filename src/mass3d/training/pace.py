"""How fast steps go, how long they wait for batches, and what the whole run will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import torch

from mass3d.execution.progress import duration, tell
from mass3d.training.config import FitConfig
from mass3d.training.memory import memory_in_words

T = TypeVar("T")

FORECAST_STEPS: Final = 3  # the first is not measured: it sets aside memory and warms up
SHORT_S: Final = 60.0  # what ends sooner needs no forecast


class Pace:
    """The steps since the last row of the log, by a clock."""

    def __init__(self, step: int, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.restart(step)

    def restart(self, step: int) -> None:
        """Count from here on; what was done since the last step counts no more."""
        self._step, self._begun, self._waited = step, self._now(), 0.0

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """The same batches; how long each is waited for is counted."""
        while True:
            begun = self._now()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += self._now() - begun
            yield batch

    def steps_per_s(self, step: int) -> float:
        """Since the last restart."""
        return (step - self._step) / max(self._now() - self._begun, 1e-9)

    def wait_share(self) -> float:
        """Of the time since then, what went by until batches were there, in [0, 1]."""
        return self._waited / max(self._now() - self._begun, 1e-9)


class Forecast:
    """Tells once, after a few steps, how long all of them will take and what memory they take."""

    def __init__(
        self,
        config: FitConfig,
        *,
        step: int,
        device: torch.device,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._config, self._first, self._device, self._now = config, step + 1, device, now
        self._begun = 0.0

    def __call__(self, step: int, samples: int) -> None:
        """After every step; `samples` of a step in all processes."""
        if step == self._first:
            self._begun = self._clock()
        if step != self._first + FORECAST_STEPS - 1:
            return
        pace = (self._clock() - self._begun) / (FORECAST_STEPS - 1)
        left = self._config.steps - step
        if left * pace > SHORT_S:
            tell(
                f"The {left} steps of {samples} samples that are left take about "
                f"{duration(left * pace)}, at {pace:.2g} s a step; {memory_in_words(self._device)}."
            )

    def _clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # gpu
        return self._now()
