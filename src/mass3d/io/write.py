"""Write results as NIfTI on the exact grid of the scan they belong to; whole files only."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mass3d.files import write_bytes
from mass3d.volume.geometry import SourceGrid


def write_label(path: Path, labels: NDArray[Any], source: SourceGrid) -> None:
    """labels (D, H, W), integers from 0 on the canonical grid of `source` -> NIfTI at `path`."""
    most = labels.max(initial=0)
    kind = next((k for k in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(k).max), None)
    assert kind, f"a label of {most}"
    stored = labels.astype(kind)
    assert (stored == labels).all(), "labels are whole numbers from 0"
    _write(path, stored, source)


def write_image(path: Path, image: NDArray[Any], source: SourceGrid) -> None:
    """image (D, H, W), float32 on the canonical grid of `source` -> NIfTI at `path`."""
    _write(path, image.astype(np.float32), source)


def _write(path: Path, voxels: NDArray[Any], source: SourceGrid) -> None:
    affine = np.array(source.affine)
    image = nib.Nifti1Image(np.asfortranarray(source.from_canonical(voxels)), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        # no name and no time inside, so that equal results are equal files
        content = gzip.compress(content, compresslevel=6, mtime=0)
    write_bytes(path, content)
