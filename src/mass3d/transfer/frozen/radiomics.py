"""Intensities and shape of a part of a scan in a few numbers, as radiomics has them.

Some first-order statistics and shape features of the IBSI (Zwanenburg et al. 2020). The surface is
that of the voxels, not of a mesh, so that sphericity is at most about two thirds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mass3d.transfer.frozen.plain import histogram
from mass3d.volume.preparation import Prepared

PERCENTILES: Final = (10, 25, 50, 75, 90)
FIRST_ORDER: Final = (
    *("mean", "std", "skewness", "kurtosis"),
    *(f"p{one}" for one in PERCENTILES),
    "entropy",
)
SHAPE: Final = (
    *("volume_ml", "surface_cm2", "sphericity"),
    *("major_mm", "minor_mm", "least_mm", "elongation", "flatness"),
)


def radiomics(scan: Prepared, part: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`FIRST_ORDER` of the normalised intensities, then `SHAPE`, of a part (D, H, W)."""
    return np.concatenate([first_order(scan, part), shape(part, scan.grid.spacing_mm)]).astype(
        np.float32
    )


def first_order(scan: Prepared, part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Moments, percentiles, and the entropy in bits of the histogram."""
    values = scan.image[part].astype(np.float64)
    mean, std = values.mean(), values.std()
    even = (values - mean) / std if std > 0 else np.zeros_like(values)
    shares = histogram(scan, part)
    return np.array(
        [
            mean,
            std,
            (even**3).mean(),
            (even**4).mean(),
            *np.percentile(values, PERCENTILES),
            stats.entropy(shares, base=2),
        ]
    )


def shape(part: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Volume, surface, sphericity, and the axes of the ellipsoid of the same moments."""
    volume = part.sum() * float(np.prod(spacing_mm))
    padded = np.pad(part, 1)
    surface = sum(
        np.count_nonzero(np.diff(padded.astype(np.int8), axis=axis)) * volume_edge
        for axis, volume_edge in enumerate(np.prod(spacing_mm) / np.array(spacing_mm))
    )
    places = np.argwhere(part) * np.array(spacing_mm)
    spread = np.cov(places, rowvar=False, bias=True) + np.diag(np.square(spacing_mm) / 12)
    major, minor, least = 2 * np.sqrt(5 * np.linalg.eigvalsh(spread)[::-1])
    sphericity = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    return np.array(
        [
            *(volume / 1000, surface / 100, sphericity),
            *(major, minor, least, minor / major, least / major),
        ]
    )
