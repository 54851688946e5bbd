"""How small networks that know one structure or a few learn, whatever they are."""

from __future__ import annotations

import math
from typing import Final

AVERAGE: Final = 0.99  # decay of the mean of the weights over updates


def rate(step: int, steps: int, *, warm_up: int) -> float:
    """Share of the learning rate: a short warm-up, then half a cosine to zero."""
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
