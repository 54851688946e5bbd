"""A scan or a label map with its geometry: the one type that moves between the rooms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import OutputError
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.nifti import nifti_of, smallest_label, write_nifti

Modality = Literal["ct", "mr", "pet"]


@dataclass(frozen=True)
class DicomIdentity:
    """Which DICOM series a volume was read from: what a DICOM segmentation of it refers to."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    instance_uids: tuple[str, ...]  # of its slices, in the order of the file's third axis


@dataclass(frozen=True)
class Volume:
    """One scan (or label map). Axes (D, H, W) are world (z, y, x), not those of its file.

    `save` and `to_nibabel` turn the voxels back into the axis order of the file.
    """

    voxels: NDArray[Any]  # (D, H, W); image float32 (HU for CT, SUV for PET), label integer
    grid: Grid  # where the voxels are
    source: SourceGrid  # the grid of the file they came from
    path: Path | None = None  # the file, for messages
    repairs: tuple[str, ...] = field(default=())  # made on reading, one sentence each
    modality: Modality | None = None  # where the file says it, as DICOM does
    dicom: DicomIdentity | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        assert self.voxels.shape == self.grid.shape, (self.voxels.shape, self.grid.shape)

    def __repr__(self) -> str:
        """Size, spacing and file; never the voxels."""
        shape = " x ".join(str(n) for n in self.grid.shape)
        spacing = " x ".join(f"{edge:.3g}" for edge in self.spacing_mm)
        return f"Volume({shape} {self.voxels.dtype} of {spacing} mm, from {self.path})"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge along (D, H, W)."""
        return self.grid.spacing_mm

    def with_voxels(self, voxels: NDArray[Any]) -> Volume:
        """Other voxels (D, H, W) on the same grid: a label map of this scan, say."""
        return replace(self, voxels=voxels, repairs=(), modality=None)

    def to_nibabel(self) -> Any:
        """A `nibabel.Nifti1Image` in the axis order and on the grid of the source file.

        Whole numbers from 0 are stored in the smallest type that holds them, others as float32.
        """
        whole = self.voxels.dtype.kind in "ub" or (
            self.voxels.dtype.kind == "i" and self.voxels.min(initial=0) >= 0
        )
        stored = smallest_label(self.voxels) if whole else self.voxels.astype(np.float32)
        return nifti_of(stored, self.source)

    def save(self, path: Path | str) -> None:
        """Write as NIfTI (.nii, .nii.gz) in the axis order and on the grid of the source file.

        The file is written whole or not at all. Raises `OutputError` when it cannot be written or
        its name has another ending.
        """
        path = Path(path)
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            raise OutputError(
                path,
                found="a name without .nii or .nii.gz",
                expected="the name of a NIfTI file",
                fix="Let the name end in .nii.gz.",
            )
        write_nifti(path, self.to_nibabel())

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
