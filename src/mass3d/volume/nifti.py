"""NIfTI images of voxels on the grid of their source file: what `Volume` is written as.

This is here and not in `io`, so that a `Volume` can save itself without its room importing one to
the right. nibabel is loaded only when something is written.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.files import write_bytes
from mass3d.volume.geometry import SourceGrid

SLOPE = 112  # byte at which slope and intercept begin
VOXELS = 352  # byte at which voxels begin where there are no extensions
LABEL_TYPES = (np.uint8, np.uint16, np.uint32)  # the smallest that holds a label map is taken


def smallest_label(labels: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """Whole numbers from 0 in the smallest unsigned type that holds them."""
    most = labels.max(initial=0)
    kind = next((kind for kind in LABEL_TYPES if most <= np.iinfo(kind).max), None)
    assert kind, f"a label of {most}"
    stored: NDArray[Any] = labels.astype(kind)
    assert (stored == labels).all(), "labels are whole numbers from 0"
    return stored


def nifti_image(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """nibabel's image of voxels in file order (i, j, k), with their affine to RAS+ mm."""
    import nibabel as nib  # noqa: PLC0415  slow to load, and only writing needs it

    image = nib.Nifti1Image(np.asfortranarray(voxels), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image


def nifti_start(
    shape: tuple[int, int, int],
    kind: type[np.generic],
    affine: NDArray[np.float64],
    *,
    scale: tuple[float, float] = (1.0, 0.0),
) -> bytes:
    """All of a NIfTI file that comes before its voxels (i, j, k), which follow in Fortran order.

    scale: slope and intercept that turn stored numbers into those of the image.
    """
    header = nifti_image(np.zeros((1, 1, 1), kind), affine).header
    header.set_data_shape(shape)
    header.set_data_offset(VOXELS)
    start: bytes = header.binaryblock + bytes(VOXELS - len(header.binaryblock))
    return start[:SLOPE] + struct.pack("<2f", *scale) + start[SLOPE + 8 :]


def nifti_of(voxels: NDArray[Any], source: SourceGrid) -> Any:
    """nibabel's image of voxels (D, H, W), in the axis order and on the grid of their file."""
    return nifti_image(source.from_canonical(voxels), np.array(source.affine))


def write_nifti(path: Path, image: Any, *, slope: float | None = None) -> None:
    """Write nibabel's image as a whole file, gzip where the name ends in .gz; raises `OutputError`.

    The gzip data hold no name and no time, so that equal results are equal files. slope: what
    stored numbers are to be multiplied by, where that is not 1.
    """
    content: bytes = image.to_bytes()
    if slope is not None:  # nibabel would choose another one for numbers of its own
        content = content[:SLOPE] + struct.pack("<2f", slope, 0) + content[SLOPE + 8 :]
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, compresslevel=6, mtime=0)
    write_bytes(path, content)
