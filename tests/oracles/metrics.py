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


def surfaces(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    areas: NDArray[np.float64],
    tolerance_mm: float,
) -> tuple[float, float, float]:
    """NSD, HD95 and ASD of two masks, element by element; areas (256,) as `element_areas`."""
    one, other = (_elements(mask, spacing_mm, areas) for mask in (prediction, truth))
    near = total = 0.0
    far: list[float] = []
    means: list[float] = []
    for mine, theirs in ((one, other), (other, one)):
        found = sorted((min(math.dist(place, p) for p, _ in theirs), area) for place, area in mine)
        whole = sum(area for _, area in found)
        near += sum(area for mm, area in found if mm <= tolerance_mm)
        total += whole
        means.append(sum(mm * area for mm, area in found) / whole)
        shares = [sum(area for _, area in found[: n + 1]) / whole for n in range(len(found))]
        far.append(next(mm for (mm, _), share in zip(found, shares, strict=True) if share >= 0.95))
    return near / total, max(far), sum(means) / 2


def lesions(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], overlap: float
) -> tuple[int, int, int, int]:
    """True lesions, those of them found, predicted ones, those of them false; by sets of voxels."""
    counts: list[int] = []
    for mask, other in ((truth, prediction), (prediction, truth)):
        parts = _parts({tuple(voxel) for voxel in np.argwhere(mask).tolist()})
        shared = [(len(part), sum(bool(other[voxel]) for voxel in part)) for part in parts]
        met = sum(n > 0 and n / size >= overlap for size, n in shared)
        counts += [len(parts), met]
    true, found, predicted, met = counts
    return true, found, predicted, predicted - met


def _parts(left: set[tuple[int, ...]]) -> list[set[tuple[int, ...]]]:
    """Voxels that touch, by a corner at least."""
    parts = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            voxel = edge.pop()
            part.add(voxel)
            near = {one for one in left if max(map(abs, np.subtract(one, voxel))) <= 1}
            left -= near
            edge += near
        parts.append(part)
    return parts


def _elements(
    mask: NDArray[np.bool_], spacing_mm: Sequence[float], areas: NDArray[np.float64]
) -> list[tuple[tuple[float, ...], float]]:
    """Place and area of every element, at the corners of the voxels."""
    padded = np.pad(mask, 1)
    found = []
    for corner in np.ndindex(*(n + 1 for n in mask.shape)):
        d, h, w = corner
        block = padded[d : d + 2, h : h + 2, w : w + 2].ravel().tolist()
        area = areas[sum(1 << bit for bit, inside in enumerate(block) if inside)]
        if area > 0:
            place = tuple(n * mm for n, mm in zip(corner, spacing_mm, strict=True))
            found.append((place, float(area)))
    return found


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
