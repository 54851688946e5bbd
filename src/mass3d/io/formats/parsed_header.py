"""What a text header says, whichever format it is of, and reading a scan by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.checks import Raw, placed, spatial_shape
from mass3d.io.formats.data_files import shown
from mass3d.io.formats.payload import Payload, read_payload, require_credible, require_room
from mass3d.io.formats.regular_file import is_regular
from mass3d.io.formats.skewed_axes import Fit
from mass3d.volume.geometry import Shape


@dataclass(frozen=True)
class ParsedHeader:
    """What a header says: axes, where they lie, and where the voxels are."""

    path: Path
    sizes: tuple[int, ...]  # of the axes, the fastest first; those of space are the first three
    affine: NDArray[np.float64]  # (4, 4): file index -> RAS+ mm
    payload: Payload
    notes: tuple[str, ...] = ()

    def fit(self) -> tuple[Shape, Fit, tuple[str, ...]]:
        """The shape in the file, the grid, and what was repaired. Raises `DataError`."""
        shape, repairs = spatial_shape(self.path, self.sizes)
        for file in self.payload.files:
            if not is_regular(file):
                raise DataError(
                    self.path,
                    found=f"a header whose voxels lie in {shown(file.name)}, which is not there",
                    expected="header and voxels in one folder",
                    fix="Copy both, under the names they were written with.",
                )
        require_room(self.path, self.payload, shape)
        fit = placed(self.path, shape, self.affine)
        return shape, fit, repairs + self.notes + fit.notes

    def grid(self) -> Fit:
        """The grid of voxels that are there. Raises `DataError`."""
        shape, fit, _ = self.fit()
        require_credible(self.path, self.payload, shape)
        return fit

    def read(self) -> Raw:
        """The voxels as they are stored. Raises `DataError`."""
        shape, fit, repairs = self.fit()
        stored, extra = read_payload(self.path, self.payload, shape)
        repairs += (f"ignored {extra} bytes after the voxels",) if extra else ()
        return Raw(stored.reshape(shape, order="F"), fit, repairs)
