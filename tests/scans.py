"""Small scan files that tests write, sound or with a header that is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

SHAPE = (5, 6, 7)  # (i, j, k) of a file
TEXT = {".mha": " = ", ".mhd": " = ", ".nrrd": ": ", ".nhdr": ": "}  # between field and value


def voxels(dtype: Any = np.int16, *, seed: int = 0) -> NDArray[Any]:
    """Numbers from 0 to 99, (i, j, k)."""
    return np.random.default_rng(seed).integers(0, 100, SHAPE).astype(dtype)


def nifti_bytes(
    image: NDArray[Any],
    affine: NDArray[np.float64] | None = None,
    *,
    version: int = 1,
    byte_order: Literal["<", ">"] = "<",
    header: Callable[[Any], None] | None = None,
) -> bytes:
    """A NIfTI file; `header` may change its fields after everything else, without any check."""
    kind = {1: nib.Nifti1Image, 2: nib.Nifti2Image}[version]
    fields = kind(image, np.eye(4), dtype=image.dtype).header.as_byteswapped(byte_order)
    fields.set_xyzt_units("mm")
    if affine is not None:
        fields.set_sform(affine, code=2)
        fields["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    fields["magic"] = {1: b"n+1", 2: b"n+2\0\r\n\x1a\n"}[version]
    fields["vox_offset"] = fields.sizeof_hdr + 4
    fields["scl_slope"], fields["scl_inter"] = 1, 0
    if header is not None:
        header(fields)
    stored = image.astype(image.dtype.newbyteorder(byte_order)).tobytes(order="F")
    return bytes(fields.binaryblock) + bytes(4) + stored


def write_itk(path: Path, image: sitk.Image, *, packed: bool = False, **fields: str) -> Path:
    """A NRRD or MetaImage by suffix, then the lines of some header fields changed.

    An empty text takes a field out; `_` in a name stands for a space.
    """
    sitk.WriteImage(image, str(path), useCompression=packed)
    content = path.read_bytes()
    for name, value in fields.items():
        start = (name.replace("_", " ") + TEXT[path.suffix]).encode()
        before, found, after = content.partition(b"\n" + start)
        assert found, f"{path.name} has no field {name}"
        line = b"\n" + start + value.encode() if value else b""
        content = before + line + b"\n" + after.partition(b"\n")[2]
    path.write_bytes(content)
    return path


def write_detached(path: Path, image: sitk.Image, data: str) -> Path:
    """A header .mhd or .nhdr whose voxels lie in the file that is named; gives that file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=False)
    header = path.read_bytes().splitlines()
    field = {".mhd": "ElementDataFile", ".nhdr": "data file"}[path.suffix] + TEXT[path.suffix]
    (line,) = (line for line in header if line.startswith(field.encode()))
    written = path.parent / line.decode().removeprefix(field)
    changed = [field.encode() + data.encode() if one is line else one for one in header]
    path.write_bytes(b"\n".join(changed) + b"\n")
    (path.parent / data).parent.mkdir(parents=True, exist_ok=True)
    return written.rename(path.parent / data)


def itk_image(
    image: NDArray[Any] | None = None,
    *,
    direction: NDArray[np.float64] | None = None,
    spacing: tuple[float, float, float] = (1.0, 2.0, 3.0),
) -> sitk.Image:
    """An image of ITK from (i, j, k) voxels."""
    found = sitk.GetImageFromArray((voxels() if image is None else image).T)
    found.SetSpacing(spacing)
    found.SetOrigin((4.0, -5.0, 6.5))
    found.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    return found
