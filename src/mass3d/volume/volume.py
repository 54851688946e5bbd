"""A scan or a label map with its geometry: the one type that moves between the rooms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.geometry import Grid, SourceGrid

Modality = Literal["ct", "mr", "pet"]


@dataclass(frozen=True)
class Volume:
    """One scan (or label map). Axes (D, H, W) are world (z, y, x); only `io` sees (x, y, z)."""

    voxels: NDArray[Any]  # (D, H, W); image float32 (HU for CT, SUV for PET), label integer
    grid: Grid  # where the voxels are
    source: SourceGrid  # the grid of the file they came from
    path: Path | None = None  # the file, for messages
    mended: tuple[str, ...] = field(default=())  # repairs made on the way in, one sentence each
    modality: Modality | None = None  # where the file says it, as DICOM does

    def __post_init__(self) -> None:
        assert self.voxels.shape == self.grid.shape, (self.voxels.shape, self.grid.shape)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge along (D, H, W)."""
        return self.grid.spacing_mm

    @classmethod
    def from_file_order(
        cls, voxels: NDArray[Any], affine: NDArray[np.float64], *, path: Path | None = None
    ) -> Volume:
        """A volume from an array (i, j, k) and its affine to RAS+ mm, as nibabel gives them."""
        source = SourceGrid.nearest((voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine)
        return cls(np.ascontiguousarray(source.to_canonical(voxels)), source.grid, source, path)

    @classmethod
    def from_array(
        cls,
        voxels: NDArray[Any],
        *,
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        path: Path | None = None,
    ) -> Volume:
        """A volume from a (D, H, W) array in canonical orientation, origin at 0."""
        d, h, w = spacing_mm
        file_affine = np.diag([w, h, d, 1.0])
        shape = voxels.shape
        source = SourceGrid.nearest((shape[2], shape[1], shape[0]), file_affine)
        return cls(voxels, source.grid, source, path)
