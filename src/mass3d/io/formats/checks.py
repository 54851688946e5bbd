"""What every format has to hold: one volume of one number per voxel, on a regular grid in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.skewed_axes import Fit, fit_grid
from mass3d.volume.geometry import Shape

MAX_DEFLATE = 1032  # bytes that deflate can make of one; a promise of more is refused unread
MAX_USUAL = 30  # as many are common; a promise of more is believed once they were seen
MAX_AXIS_VOX = 2**31 - 1  # along an axis
MM = frozenset({"", "?", "mm", "millimeter", "millimetre", "millimeters", "millimetres"})
MIN_EDGE_MM, MAX_EDGE_MM = 1e-4, 1e3  # voxel edges beyond these are mistakes


@dataclass(frozen=True)
class Raw:
    """A file as it is: voxels in file order (i, j, k), how they fit a regular grid, and repairs."""

    voxels: NDArray[Any]
    fit: Fit
    repairs: tuple[str, ...]


def damaged(path: Path, detail: str) -> DataError:
    """The error for a file that is an image, but not a whole one."""
    return DataError(
        path,
        found=f"a damaged or incomplete image ({' '.join(detail.split())[:120]})",
        expected="a whole file",
        fix="Copy or export it again.",
    )


def not_grey(path: Path, found: str) -> DataError:
    """The error for a file with more than one number per voxel."""
    return DataError(
        path,
        found=found,
        expected="one number per voxel",
        fix="Export the scan as a grey-value image.",
    )


def spatial_shape(path: Path, shape: Sequence[int]) -> tuple[Shape, tuple[str, ...]]:
    """The three axes of space and what was repaired; further axes may hold one volume.

    Raises `DataError`.
    """
    sound = all(0 < n <= MAX_AXIS_VOX for n in shape[:3])
    if len(shape) >= 3 and sound and all(n == 1 for n in shape[3:]):
        repairs = (f"dropped empty axes of a {len(shape)}D file",) if len(shape) > 3 else ()
        return (int(shape[0]), int(shape[1]), int(shape[2])), repairs
    raise DataError(
        path,
        found=f"a {len(shape)}D image of {times(shape)} voxels",
        expected="one 3D volume",
        fix="Split a series into one file per volume."
        if len(shape) > 3
        else "Stack the slices of the scan into one file.",
    )


def require_edges(path: Path, edges_mm: Sequence[float] | NDArray[Any]) -> None:
    """Raise `DataError` unless these are edges that a voxel can have."""
    if not all(MIN_EDGE_MM <= edge <= MAX_EDGE_MM for edge in edges_mm):
        raise DataError(
            path,
            found=f"voxel edges of {', '.join(f'{edge:g}' for edge in edges_mm)} mm",
            expected=f"edges between {MIN_EDGE_MM:g} and {MAX_EDGE_MM:g} mm",
            fix="Repair the spacing in the header with the tool that wrote it.",
        )


def require_mm(path: Path, unit: str) -> None:
    """Raise `DataError` unless lengths are in millimetres, or in no unit that is named."""
    if unit.strip().lower() not in MM:
        raise DataError(
            path,
            found=f"lengths in {unit}",
            expected="lengths in mm",
            fix="Convert the header to mm with the tool that wrote it.",
        )


def placed(path: Path, shape: Shape, affine: NDArray[np.float64]) -> Fit:
    """Check the affine (file index -> RAS+ mm) and fit a regular grid. Raises `DataError`."""
    if not np.isfinite(affine).all():
        raise DataError(
            path,
            found="a position or a direction that is not a number",
            expected="the place of the voxels in mm",
            fix="Repair the geometry in the header with the tool that wrote it.",
        )
    with np.errstate(over="ignore"):
        require_edges(path, np.linalg.norm(affine[:3, :3], axis=0))
    return fit_grid(path, shape, affine)


def farthest_mm(shape: Shape, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """How far apart two affines put the corners of a box of voxels, at the worst."""
    corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)])
    corners[:, :3] *= np.array(shape) - 1
    return float(np.linalg.norm(corners @ (a - b).T, axis=1).max())


def times(shape: Sequence[int]) -> str:
    """A shape in words: 3 x 4 x 5."""
    return " x ".join(str(n) for n in shape)
