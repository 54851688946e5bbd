"""Axes that are not perpendicular, as one rule for every format.

By how far axes are from perpendicular, and by how far making them so would move a voxel:
- up to `ROUNDING_DEG` and `ROUNDING_VOX`: the header was rounded; no note.
- up to `STRAIGHTENED_DEG` and `STRAIGHTENED_VOX`: the nearest perpendicular axes are taken, with a
  note. The voxels are not touched, and results are written with the affine of the file.
- up to `MAX_SKEW_DEG`: resampled to a regular grid, linear (labels nearest), with a note.
- beyond, or where the regular grid would be `MAX_GROWTH` as large: refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.errors import DataError
from mass3d.volume.geometry import Shape, SourceGrid, moved_vox, perpendicular, skew_deg

ROUNDING_DEG, ROUNDING_VOX = 0.1, 0.1
STRAIGHTENED_DEG, STRAIGHTENED_VOX = 1.0, 0.5
MAX_SKEW_DEG = 45.0
MAX_GROWTH = 4  # a sheared box needs a larger one around it


@dataclass(frozen=True)
class Fit:
    """A regular grid for the voxels of a file, and how they get there."""

    source: SourceGrid
    notes: tuple[str, ...] = ()
    to_file: NDArray[np.float64] | None = None  # (4, 4): index on `source` -> index in the file

    def resampled(self, voxels: NDArray[Any], *, label: bool) -> NDArray[Any]:
        """Voxels (i, j, k) of the file on the regular grid.

        Images (float32) are linear, and the lowest value where nothing was seen; labels are
        nearest, and 0 there.
        """
        if self.to_file is None:
            return voxels
        moved: NDArray[Any] = ndimage.affine_transform(
            voxels,
            self.to_file,
            output_shape=self.source.shape,
            order=0 if label else 1,
            mode="constant",
            cval=0 if label else float(voxels.min()),
        )
        return moved


def fit_grid(path: Path, shape: Shape, affine: NDArray[np.float64]) -> Fit:
    """The regular grid of voxels with this affine to RAS+ mm. Raises `DataError`."""
    angle, moved = skew_deg(affine), moved_vox(shape, affine, perpendicular(shape, affine))
    if angle <= ROUNDING_DEG and moved <= ROUNDING_VOX:
        return Fit(SourceGrid.nearest(shape, affine))
    skewed = f"axes that are {angle:.3g} degrees from perpendicular"
    if not is_sheared(shape, affine):
        note = f"{skewed}: made perpendicular, which moves voxels by up to {moved:.2g} of an edge"
        return Fit(SourceGrid.nearest(shape, affine), (note,))
    if angle <= MAX_SKEW_DEG:
        around, regular = _around(shape, affine)
        if np.prod(around, dtype=float) <= MAX_GROWTH * np.prod(shape, dtype=float):
            # rounding errors must not put the first and last voxels outside
            to_file = np.round(np.linalg.solve(affine, regular), 9)
            note = f"{skewed}: resampled to a regular grid"
            return Fit(SourceGrid.nearest(around, regular), (note,), to_file)
    raise DataError(
        path,
        found=skewed,
        expected=f"perpendicular axes, or a shear of at most {MAX_SKEW_DEG:g} degrees",
        fix="Resample the scan to a regular grid with the tool that made it.",
    )


def is_sheared(shape: Shape, affine: NDArray[np.float64]) -> bool:
    """Whether axes are too far from perpendicular to be made so without touching the voxels."""
    moved = moved_vox(shape, affine, perpendicular(shape, affine))
    return skew_deg(affine) > STRAIGHTENED_DEG or moved > STRAIGHTENED_VOX


def _around(shape: Shape, affine: NDArray[np.float64]) -> tuple[Shape, NDArray[np.float64]]:
    """The smallest box of perpendicular axes around a sheared one.

    One axis is kept, the second is turned within their plane, and the third, the one along which
    the voxels are longest, is turned to the normal: of a tilted scan that is the stack of slices,
    so that slices are moved within their own plane only.
    """
    columns = affine[:3, :3]
    edges = np.linalg.norm(columns, axis=0)
    order = np.argsort(edges, kind="stable")
    axes, sheared = np.linalg.qr(columns[:, order])
    steps = np.abs(np.diag(sheared))
    axes, sheared = axes * np.sign(np.diag(sheared)), sheared * np.sign(np.diag(sheared))[:, None]
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    places = corners[:, order] @ (sheared / steps[:, None]).T  # in steps of the new axes
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.ceil(high - low - 1e-6).astype(int) + 1
    regular, around = np.eye(4), np.empty(3, int)
    regular[:3, order], around[order] = axes * steps, size
    regular[:3, 3] = affine[:3, 3] + axes @ (low * steps)
    return (int(around[0]), int(around[1]), int(around[2])), regular
