"""What stands out among its kind: one rule, for scans and for masks.

A figure is far from the others when it is more than `FAR` robust standard deviations (1.4826 times
the median distance from the median; Iglewicz and Hoaglin 1993) away from their median.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = 3.5  # robust standard deviations


def deviations(table: NDArray[np.float64], *, min_spread: float) -> NDArray[np.float64]:
    """How many robust standard deviations each entry of (N, ...) is from the median over N.

    Signed; the deviation counts as `min_spread` where it is smaller, so that among nearly equal
    figures no small difference stands out.
    """
    away = table - np.median(table, axis=0)
    spread = 1.4826 * np.median(np.abs(away), axis=0)
    return np.asarray(away / np.maximum(min_spread, spread))
