"""Slow plain versions of what `mass3d.metrics` does cleverly."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks by their sets of voxels; NaN when both are empty."""
    found, there = ({tuple(voxel) for voxel in np.argwhere(mask)} for mask in (prediction, truth))
    if not found and not there:
        return math.nan
    return 2 * len(found & there) / (len(found) + len(there))


def mean_of_means(rows: Sequence[Sequence[float]]) -> float:
    """Mean over columns of the mean of what is a number in each; columns of NaN left out."""
    means = []
    for column in zip(*rows, strict=True):
        numbers = [value for value in column if not math.isnan(value)]
        if numbers:
            means.append(sum(numbers) / len(numbers))
    return sum(means) / len(means) if means else math.nan


def resampled_ends(
    rows: Sequence[Sequence[float]], drawn: NDArray[np.integer], *, level: float
) -> tuple[float, float]:
    """Percentile interval of the mean of means; drawn (resamples, cases) are indices of rows."""
    means = sorted(mean_of_means([rows[case] for case in draw]) for draw in drawn.tolist())
    return _percentile(means, (1 - level) / 2), _percentile(means, (1 + level) / 2)


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest of the ordered values."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
