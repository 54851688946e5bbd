"""Write results as NIfTI on the exact grid of the scan they belong to; whole files only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from mass3d.io.formats.label_table import CODES, LabelName, table_xml
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.nifti import nifti_image, nifti_of, smallest_label, write_nifti


def write_label(
    path: Path, labels: NDArray[Any], source: SourceGrid, *, names: Iterable[LabelName] = ()
) -> None:
    """labels (D, H, W), integers from 0 on the canonical grid of `source` -> NIfTI at `path`.

    names: what the values are called, for an extension of the header that viewers understand.
    """
    image = nifti_of(smallest_label(labels), source)
    if named := list(names):
        image.header.extensions += [Nifti1Extension(code, table_xml(named)) for code in CODES]
    write_nifti(path, image)


def write_share(path: Path, share: NDArray[np.int16], source: SourceGrid, *, steps: int) -> None:
    """share (D, H, W), whole numbers from 0 to `steps` that stand for 0 to 1 -> NIfTI at `path`.

    Readers that heed the slope of the header find numbers from 0 to 1.
    """
    write_nifti(path, nifti_of(share, source), slope=1 / steps)


def write_image(path: Path, image: NDArray[Any], source: SourceGrid) -> None:
    """image (D, H, W), float32 on the canonical grid of `source` -> NIfTI at `path`."""
    write_nifti(path, nifti_of(image.astype(np.float32), source))


def write_file_order(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """voxels (i, j, k) of any type, with their affine to RAS+ mm -> NIfTI at `path`."""
    write_nifti(path, nifti_image(voxels, affine))
