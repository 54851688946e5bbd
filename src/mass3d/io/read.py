"""Read a scan or a label map by what the file holds, not by its name.

NIfTI-1 and -2 (plain or gzip, either byte order) through nibabel, NRRD and MetaImage (attached or
detached) through SimpleITK. Everything leaves here as a `Volume` in canonical axes, RAS+.
"""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.volume import Volume

Format = Literal["nifti", "sitk"]
READABLE = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd)"
GZIP = b"\x1f\x8b"
NIFTI_HEADER_SIZES = {348, 540}
SKEW_LIMIT_DEG = 0.5  # axes further from perpendicular than this are no regular scan
SAME_GRID = 1e-3  # of a voxel: two grids closer than this are the same


@dataclass(frozen=True)
class Header:
    """What a file says before its voxels are read."""

    grid: Grid
    source: SourceGrid


def read_volume(path: Path) -> Volume:
    """Read a scan: float32 voxels (D, H, W), HU for CT. Raises `DataError`.

    NaN and infinite voxels are replaced by the lowest finite value, and the volume tells so,
    when they are less than half of the scan; otherwise, and for a constant scan, it is refused.
    """
    raw, source, mended = _read(path)
    if min(source.shape) < 2:
        raise DataError(
            path,
            found=f"a single slice ({_times(source.shape)} voxels)",
            expected="a volume of at least 2 voxels along every axis",
            fix="Stack the slices of the scan into one file.",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        image = np.ascontiguousarray(source.to_canonical(raw), dtype=np.float32)
    del raw
    mended += _mend_numbers(path, image)
    if image.min() == image.max():
        raise DataError(
            path,
            found=f"the same value ({image.flat[0]:g}) in every voxel",
            expected="an image",
            fix="Export the scan again; this file shows nothing.",
        )
    return Volume(image, source.grid, source, path, mended)


def read_label(path: Path, *, like: Volume | None = None) -> Volume:
    """Read a label map: integer voxels (D, H, W). Raises `DataError`.

    With `like`, the label must lie on the grid of that scan. Numbers stored as floats are fine
    if they are whole.
    """
    raw, source, mended = _read(path)
    canonical = source.to_canonical(raw)
    if canonical.dtype.kind == "f":
        if not np.isfinite(canonical).all() or (canonical != np.round(canonical)).any():
            raise DataError(
                path,
                found="values that are not whole numbers",
                expected="a label map",
                fix="Check that this is the label, not the image or a probability map.",
            )
        canonical = canonical.astype(np.int64)
    if canonical.min() < 0 or canonical.max() > np.iinfo(np.uint16).max:
        raise DataError(
            path,
            found=f"label values from {canonical.min()} to {canonical.max()}",
            expected=f"0 (background) to {np.iinfo(np.uint16).max}",
            fix="Check that this is the label, not the image; renumber the structures.",
        )
    label = np.ascontiguousarray(canonical, dtype=np.uint16)
    volume = Volume(label, source.grid, source, path, mended)
    if like is not None:
        require_same_grid(volume, like)
    return volume


def read_grid(path: Path) -> Header:
    """The geometry of a file without its voxels, where the format allows. Raises `DataError`."""
    if _sniff(path) == "nifti":
        image = _open_nifti(path)
        shape, _ = _spatial_shape(path, image.shape)
        source = _source_grid(path, shape, np.asarray(image.affine, float))
    else:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        with _sitk_errors(path):
            reader.ReadImageInformation()
        source = _sitk_source(path, reader)
    return Header(source.grid, source)


def require_same_grid(label: Volume, image: Volume) -> None:
    """Raise `DataError` naming both files unless both lie on one grid."""
    ours, theirs = label.grid, image.grid
    tolerance = SAME_GRID * min(theirs.spacing_mm) * max(theirs.shape)
    if ours.shape == theirs.shape and np.allclose(ours.affine, theirs.affine, atol=tolerance):
        return
    raise DataError(
        label.path or "label",
        found=f"a grid of {_describe(ours)}",
        expected=f"the grid of {image.path or 'its image'}: {_describe(theirs)}",
        fix="Resample the label onto its image with the tool that made it.",
    )


def _read(path: Path) -> tuple[NDArray[Any], SourceGrid, tuple[str, ...]]:
    """Voxels in file order (i, j, k), their grid, and what was mended."""
    return _read_nifti(path) if _sniff(path) == "nifti" else _read_sitk(path)


def _sniff(path: Path) -> Format:
    """The format by content. Raises `DataError` for what is not an image."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise DataError(
            path,
            found=f"no readable file ({error.strerror})",
            expected=READABLE,
            fix="Check the path and the permissions.",
        ) from error
    if not start:
        raise DataError(
            path, found="an empty file", expected=READABLE, fix="Copy or export it again."
        )
    if start[:2] == GZIP:
        start = _unzip_start(path, start)
    if (
        len(start) >= 4
        and {
            int.from_bytes(start[:4], "little"),
            int.from_bytes(start[:4], "big"),
        }
        & NIFTI_HEADER_SIZES
    ):
        return "nifti"
    if start.startswith(b"NRRD000") or b"ObjectType" in start or b"ElementType" in start:
        return "sitk"
    raise DataError(
        path,
        found=f"content that begins with {start[:16]!r}",
        expected=READABLE,
        fix="This is not an image file of these formats, whatever its name says.",
    )


def _unzip_start(path: Path, start: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 1024)
    except zlib.error as error:
        raise _truncated(path, str(error)) from error


def _open_nifti(path: Path, content: bytes | None = None) -> Any:
    """A nibabel image, from memory where `content` is given."""
    try:
        with _quiet_nibabel():
            if content is None and not path.name.endswith((".nii", ".nii.gz")):
                content = _whole(path)  # nibabel chooses by name, we by content
            if content is None:
                return nib.load(path)
            first = {int.from_bytes(content[:4], order) for order in ("little", "big")}
            kind = nib.Nifti2Image if 540 in first else nib.Nifti1Image
            return kind.from_bytes(content)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise _truncated(path, str(error)) from error


def _whole(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] == GZIP:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read()
    return content


def _read_nifti(path: Path) -> tuple[NDArray[Any], SourceGrid, tuple[str, ...]]:
    image = _open_nifti(path)
    shape, mended = _spatial_shape(path, image.shape)
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind == "c":
        raise DataError(
            path,
            found="colour or complex voxels",
            expected="one number per voxel",
            fix="Export the scan as a grey-value image.",
        )
    source = _source_grid(path, shape, np.asarray(image.affine, float))
    try:
        with np.errstate(all="ignore"):
            voxels = np.asanyarray(image.dataobj)
    except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise _truncated(path, str(error)) from error
    return voxels.reshape(shape), source, mended


def _read_sitk(path: Path) -> tuple[NDArray[Any], SourceGrid, tuple[str, ...]]:
    with _sitk_errors(path):
        image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(
            path,
            found=f"{image.GetNumberOfComponentsPerPixel()} numbers per voxel",
            expected="one number per voxel",
            fix="Export the scan as a grey-value image.",
        )
    source = _sitk_source(path, image)
    _, mended = _spatial_shape(path, image.GetSize())
    voxels = sitk.GetArrayFromImage(image)  # (k, j, i), 4D with the channel first
    return voxels.T.reshape(source.shape), source, mended


def _sitk_source(path: Path, image: Any) -> SourceGrid:
    """The grid of an ITK image or reader; ITK's world is LPS+, ours RAS+."""
    size = image.GetSize()
    shape, _ = _spatial_shape(path, size)
    n = len(size)
    direction = np.array(image.GetDirection()).reshape(n, n)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = np.array(image.GetOrigin())[:3]
    return _source_grid(path, shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _spatial_shape(
    path: Path, shape: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """The three axes of space; further axes are fine if they hold one volume."""
    if len(shape) > 3 and all(n == 1 for n in shape[3:]):
        mended = (f"dropped empty axes of a {len(shape)}D file",)
        return (int(shape[0]), int(shape[1]), int(shape[2])), mended
    if len(shape) == 3 and all(n > 0 for n in shape):
        return (int(shape[0]), int(shape[1]), int(shape[2])), ()
    raise DataError(
        path,
        found=f"a {len(shape)}D image of {_times(shape)} voxels",
        expected="one 3D volume",
        fix="Split a series into one file per volume."
        if len(shape) > 3
        else "Stack the slices of the scan into one file.",
    )


def _source_grid(path: Path, shape: tuple[int, int, int], affine: NDArray[Any]) -> SourceGrid:
    """Check the affine (file index -> RAS+ mm) and choose the axis order."""
    columns = affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or (spacing < 1e-4).any() or (spacing > 1e3).any():
        raise DataError(
            path,
            found=f"voxel edges of {', '.join(f'{edge:g}' for edge in spacing)} mm",
            expected="edges between 0.0001 and 1000 mm",
            fix="Repair the spacing in the header with the tool that wrote it.",
        )
    cosines = (columns / spacing).T @ (columns / spacing)
    skew = float(np.degrees(np.arcsin(min(1.0, np.abs(cosines - np.eye(3)).max()))))
    if skew > SKEW_LIMIT_DEG:
        raise DataError(
            path,
            found=f"axes that are {skew:.1f} degrees from perpendicular",
            expected=f"perpendicular axes, to {SKEW_LIMIT_DEG} degrees",
            fix="Resample the scan to a regular grid (a gantry tilt, for instance).",
        )
    return SourceGrid.nearest(shape, affine)


def _mend_numbers(path: Path, image: NDArray[np.float32]) -> tuple[str, ...]:
    """Replace voxels that are not finite numbers, in place; tell how many."""
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(image) <= np.finfo(np.float32).max)
    count = int(bad.sum())
    if count == 0:
        return ()
    if count * 2 >= image.size:
        raise DataError(
            path,
            found=f"{count} of {image.size} voxels that are NaN or infinite",
            expected="numbers in at least half of the scan",
            fix="Export the scan again.",
        )
    image[bad] = image[~bad].min()
    return (f"replaced {count} NaN or infinite voxels by the lowest value",)


def _truncated(path: Path, detail: str) -> DataError:
    return DataError(
        path,
        found=f"a damaged or incomplete image ({' '.join(detail.split())[:120]})",
        expected="a whole file",
        fix="Copy or export it again.",
    )


@contextmanager
def _sitk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's errors into ours and keep its warnings off the console."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1] if str(error).strip() else "unknown"
        raise _truncated(path, detail) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel's header notes off the console: what matters becomes an error of ours."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _describe(grid: Grid) -> str:
    spacing = " x ".join(f"{edge:.3g}" for edge in grid.spacing_mm)
    origin = ", ".join(f"{x:.1f}" for x in grid.affine[:3, 3])
    return f"{_times(grid.shape)} voxels of {spacing} mm from ({origin})"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
