"""Which scans are most alike by their pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NEAREST: Final = 5
AT_ONCE: Final = 512  # scans compared with all others in one product


class Neighbour(NamedTuple):
    """Another scan."""

    case: str
    similarity: float  # cosine, from -1 to 1


def nearest(
    cases: Sequence[str], features: NDArray[np.floating], *, count: int = NEAREST
) -> dict[str, list[Neighbour]]:
    """The scans most alike each, most alike first, by cosine of standardised features (cases, F).

    Features that are the same in all scans say nothing and are left out.
    """
    units = _units(np.asarray(features, np.float64))
    found = {}
    for first in range(0, len(cases), AT_ONCE):
        alike = units[first : first + AT_ONCE] @ units.T
        for row, similarities in enumerate(alike, start=first):
            similarities[row] = -np.inf
            order = np.argsort(-similarities, kind="stable")[: min(count, len(cases) - 1)]
            found[cases[row]] = [Neighbour(cases[i], float(similarities[i])) for i in order]
    return found


def _units(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised features of length one; zeros where a scan is like the mean in all of them."""
    spread = features.std(axis=0)
    kept = spread > 1e-9 * np.abs(features).max(axis=0, initial=1.0)
    standard = (features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept]
    lengths = np.linalg.norm(standard, axis=1, keepdims=True)
    return np.asarray(standard / np.maximum(lengths, 1e-12), np.float64)
