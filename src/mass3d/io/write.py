"""Write results as NIfTI on the exact grid of the scan they belong to; whole files only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.geometry import SourceGrid
from mass3d.volume.nifti import nifti_image, nifti_of, smallest_label, write_nifti


def write_label(path: Path, labels: NDArray[Any], source: SourceGrid) -> None:
    """labels (D, H, W), integers from 0 on the canonical grid of `source` -> NIfTI at `path`."""
    write_nifti(path, nifti_of(smallest_label(labels), source))


def write_image(path: Path, image: NDArray[Any], source: SourceGrid) -> None:
    """image (D, H, W), float32 on the canonical grid of `source` -> NIfTI at `path`."""
    write_nifti(path, nifti_of(image.astype(np.float32), source))


def write_file_order(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """voxels (i, j, k) of any type, with their affine to RAS+ mm -> NIfTI at `path`."""
    write_nifti(path, nifti_image(voxels, affine))
