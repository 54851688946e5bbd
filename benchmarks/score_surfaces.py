"""Surfaces of a prediction scored in the box of both masks against the whole volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from support.measure import Row, main, side_by_side
from support.synthetic import Shape

from mass3d.metrics.surface import surface_scores


def measure(small: bool) -> Sequence[Row]:
    """A kidney-sized ellipsoid in 160 x 256 x 256 voxels, and the same moved by three voxels."""
    shape: Shape = (20, 32, 32) if small else (160, 256, 256)
    truth = ellipsoid(shape)
    prediction = np.roll(truth, 3, 1)
    took = side_by_side(
        {
            "box": lambda: surface_scores(prediction, truth, (1.0, 1.0, 1.0), tolerance_mm=2.0),
            "whole": lambda: hd95_of_whole(prediction, truth),
        }
    )
    return [
        Row(
            f"NSD, HD95 and ASD of a structure in {'x'.join(map(str, shape))}",
            took["box"],
            "CPU-s",
            took["whole"],
            "HD95 alone, in the whole volume",
            "<= 0.5 s",
        )
    ]


def ellipsoid(shape: Shape) -> NDArray[np.bool_]:
    """Three tenths of the volume long along each axis, in its middle."""
    d, h, w = (np.linspace(-1, 1, n) / 0.3 for n in shape)
    inside: NDArray[np.bool_] = d[:, None, None] ** 2 + h[:, None] ** 2 + w**2 < 1
    return inside


def hd95_of_whole(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """As it is usually written: the voxels at the rim, and distances of every voxel."""
    rims = [mask & ~binary_erosion(mask) for mask in (prediction, truth)]
    away = [distance_transform_edt(~rim) for rim in rims]
    return max(float(np.percentile(away[1 - one][rims[one]], 95)) for one in (0, 1))


if __name__ == "__main__":
    main(__file__, measure)
