"""Slices of one volume -> a regular grid: gaps, uneven steps and tilt, by rules.

Steps are taken along the normal of the slices.
- Every slice within `NEAR` of a step from an even grid: the grid is taken.
- Places of that grid without a slice: interpolated, if at most one in `ONE_IN` is missing and no
  two in a row; otherwise refused. (The grid ends with the slices, so no end is made up.)
- Otherwise uneven: resampled to even steps, if every step is within `UNEVEN` of the usual one.
- Slices that drift sideways (gantry tilt): sheared back, if they lie on one line and the drift
  is more than the rule of `io.formats.skewed_axes` makes perpendicular without touching the voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.dicom.header import Slice
from mass3d.io.dicom.series import SAME_MM, Series, places_of
from mass3d.io.formats.checks import require_edges
from mass3d.io.formats.skewed_axes import MAX_GROWTH, MAX_SKEW_DEG, is_sheared
from mass3d.volume.geometry import Shape

NEAR = 0.1  # of a step
ONE_IN = 10  # slices may be missing
UNEVEN = 0.25  # of the usual step
SAME_AXES = 1e-3  # of unit vectors: closer ones differ by rounding
TURNED_DEG = 1.0  # of slices against their mean orientation, as of a motion correction
STRAY_VOX = 0.5  # of a slice from the line that the others lie on
LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """How slices make a regular grid of (columns, rows, slices)."""

    shape: Shape
    affine: NDArray[np.float64]  # (4, 4): index (i, j, k) -> RAS+ mm
    places: tuple[float, ...]  # k of every place that has a slice; whole where the grid is even
    shifts: NDArray[np.float64]  # (places, 2): index (i, j) of a place's first pixel
    repairs: tuple[str, ...]


def stack_slices(series: Series) -> Stack:
    """The grid of a volume. Raises `DataError` where its slices make none."""
    if series.doubt:
        raise DataError(
            series.path,
            found=series.doubt,
            expected="the slices of one scan, each with a number of its own",
            fix="Move the files of each scan into a folder of its own.",
        )
    first, turned = _aligned(series, _first_of_places(series))
    positions = np.array([part.position for part in first])
    normal = first[0].normal
    along = (positions - positions[0]) @ normal
    _require_all_of_span(series, along + float(positions[0] @ normal))
    places, step, notes = _even(series, along)
    notes = turned + notes
    axes = np.reshape(first[0].axes, (2, 3))
    edges = np.array(first[0].pixel_mm[::-1])  # between columns, between rows
    require_edges(series.path, edges)
    drift = _drift(series, (positions - positions[0]) @ axes.T, places, edges)
    rows, columns = first[0].shape
    size = np.array([columns, rows])
    depth = round(places[-1]) + 1
    shifts = np.zeros((len(places), 2))
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2] = axes.T * edges, normal * step + drift @ axes
    affine[:3, 3] = positions[0]
    if is_sheared((columns, rows, depth), affine):
        shifts = np.outer(places, drift / edges)
        shifts -= shifts.min(axis=0)
        size += np.ceil(shifts.max(axis=0) - 1e-6).astype(int)
        affine[:3, 2] = normal * step
        affine[:3, 3] -= (shifts[0] * edges) @ axes
        angle = _degrees(drift, step)
        if angle > MAX_SKEW_DEG or size.prod() > MAX_GROWTH * rows * columns:
            raise _refused(
                series,
                f"a gantry tilt of {angle:.1f} degrees over {depth} slices",
                f"at most {MAX_SKEW_DEG:g} degrees, and a regular grid at most {MAX_GROWTH} times "
                "as large",
            )
        notes += (f"gantry tilt of {angle:.1f} degrees: slices resampled to a regular grid",)
    shape = (int(size[0]), int(size[1]), depth)
    return Stack(shape, LPS_TO_RAS @ affine, tuple(places.tolist()), shifts, notes)


def _first_of_places(series: Series) -> list[Slice]:
    places = places_of(series.slices)
    return [series.slices[places.index(place)] for place in range(places[-1] + 1)]


def _require_all_of_span(series: Series, along: NDArray[np.float64]) -> None:
    """Raise `DataError` when other volumes of the same series reach further than this one."""
    lowest, highest = series.span_mm
    lost = max(along[0] - lowest, highest - along[-1])
    if lost > SAME_MM:
        raise _refused(
            series,
            f"a volume ({series.volume}) that ends {lost:.3g} mm before the others of its series",
            "volumes with all their slices",
        )


def _aligned(series: Series, slices: list[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices with one orientation, and a note where it is the mean of several.

    Raises `DataError` where they are turned against each other by more than a little.
    """
    axes = np.array([part.axes for part in slices])
    if np.abs(axes - axes[0]).max() <= SAME_AXES:
        return slices, ()
    mean = np.mean(axes, axis=0).reshape(2, 3)
    left, _, right = np.linalg.svd(mean, full_matrices=False)
    mean = left @ right  # the nearest two perpendicular unit vectors
    cosines = (axes.reshape(-1, 2, 3) * mean).sum(axis=2).clip(-1, 1)
    angle = float(np.degrees(np.arccos(cosines.min())))
    if angle > TURNED_DEG:
        raise _refused(
            series,
            f"slices turned against each other by up to {angle:.2g} degrees from their mean",
            f"parallel slices; up to {TURNED_DEG:g} degree is taken as noise",
        )
    note = f"slices turned by up to {angle:.2g} degrees: took their mean orientation"
    return [replace(part, axes=tuple(mean.ravel().tolist())) for part in slices], (note,)


def _even(
    series: Series, along: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, tuple[str, ...]]:
    """Place of every slice in steps, the step in mm, and what was repaired."""
    gaps = np.diff(along)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    whole = np.concatenate([[0.0], np.cumsum(np.maximum(1, np.round(gaps / usual)))])
    step = float(along[-1] / whole[-1])
    if np.abs(step * whole - along).max() <= NEAR * step:
        return whole, step, _missing(series, whole)
    if np.abs(gaps / usual - 1).max() <= UNEVEN:
        step = float(along[-1] / len(gaps))
        note = f"uneven steps of {gaps.min():.3g} to {gaps.max():.3g} mm: resampled to {step:.3g}"
        return along / step, step, (note,)
    raise _refused(
        series,
        f"steps between slices of {gaps.min():.3g} to {gaps.max():.3g} mm",
        f"even steps; up to {UNEVEN:.0%} off the usual {usual:.3g} mm are resampled",
    )


def _missing(series: Series, whole: NDArray[np.float64]) -> tuple[str, ...]:
    """The sentence about slices to interpolate. Raises `DataError` when they are too many."""
    total = int(whole[-1]) + 1
    gone = sorted(set(range(total)) - set(whole.astype(int).tolist()))
    if not gone:
        return ()
    names = ", ".join(str(place + 1) for place in gone[:10]) + (", ..." if gone[10:] else "")
    if len(gone) * ONE_IN > total or np.diff(whole).max() > 2:
        raise _refused(
            series,
            f"{len(gone)} of {total} slices missing (number {names})",
            f"all; one in {ONE_IN} is interpolated, but no two in a row",
        )
    return (f"interpolated {len(gone)} missing of {total} slices (number {names})",)


def _drift(
    series: Series,
    sideways: NDArray[np.float64],
    places: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How many mm each step moves along a row and along a column.

    sideways (places, 2) in mm. Raises `DataError` when the slices do not lie on one line.
    """
    drift = (places @ sideways) / (places @ places)
    stray = np.abs(sideways - np.outer(places, drift)) / edges
    if stray.max() > STRAY_VOX:
        raise _refused(
            series,
            f"slices that lie up to {stray.max():.2g} pixels beside the line of the others",
            "slices stacked along one line",
        )
    return np.asarray(drift)


def _degrees(drift: NDArray[np.float64], step: float) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(drift), step)))


def _refused(series: Series, found: str, expected: str) -> DataError:
    return DataError(
        series.path,
        found=found,
        expected=expected,
        fix="Export the series again with all its slices, or convert it with another tool.",
    )
