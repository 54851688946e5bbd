"""Learning-rate schedules: one literal table of functions of progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

ScheduleName = Literal["constant", "warmup_cosine"]


def constant(progress: float) -> float:
    """Always the full rate."""
    del progress
    return 1.0


def warmup_cosine(progress: float, *, warmup: float = 0.05) -> float:
    """Rise linearly over the first `warmup` of the run, then fall along a half cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


SCHEDULES: Final[dict[ScheduleName, Callable[[float], float]]] = {
    "constant": constant,
    "warmup_cosine": warmup_cosine,
}
