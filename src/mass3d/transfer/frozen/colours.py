"""Dense features as colours: the same three directions of the features in all scans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES: Final = (2.0, 98.0)  # percentiles shown as no and full colour
PER_SCAN: Final = 1500  # cells of a scan that the directions are found by


@dataclass(frozen=True)
class Colouring:
    """Three principal components of the features of body cells, and the range of each."""

    mean: NDArray[np.float64]  # (C,)
    axes: NDArray[np.float64]  # (C, 3)
    low: NDArray[np.float64]  # (3,)
    high: NDArray[np.float64]

    @classmethod
    def fit(cls, scans: Iterable[NDArray[np.floating]]) -> Colouring:
        """Of the cells (n, C) of some scans, as many of each."""
        cells = np.concatenate([_thinned(one) for one in scans]).astype(np.float64)
        mean = cells.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(cells - mean, rowvar=False, bias=True))
        axes = np.ascontiguousarray(vectors[:, ::-1][:, :3])
        # a direction has no sign of its own: its largest part is positive
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        low, high = np.percentile((cells - mean) @ axes, EDGES, axis=0)
        return cls(mean, axes, low, np.maximum(high, low + 1e-9))

    def paint(self, plane: NDArray[np.floating], shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Features (C, rows, columns) -> (rows, columns, 3); black where nothing is to be shown."""
        values = np.moveaxis(plane.astype(np.float64), 0, -1)
        shares = ((values - self.mean) @ self.axes - self.low) / (self.high - self.low)
        colours = (30 + 225 * np.clip(shares, 0, 1)).round() * shown[..., None]
        return np.asarray(colours, np.uint8)


def _thinned(cells: NDArray[np.floating]) -> NDArray[np.floating]:
    """Evenly spread rows, as many of every scan."""
    return np.asarray(cells[np.linspace(0, len(cells) - 1, PER_SCAN).round().astype(int)])
