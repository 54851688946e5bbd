"""Read a scan or a label map by what the file holds, not by its name.

NIfTI-1 and -2 (plain or gzip, either byte order), NRRD and MetaImage (attached or detached), and
scans as DICOM: a series that was found before, or a folder, archive or file that holds just one.
Everything leaves here as a `Volume` in canonical axes, RAS+.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.dicom.series import Series
from mass3d.io.dicom.volume import (
    dicom_identity,
    only_series,
    read_series,
    read_series_grid,
    series_modality,
)
from mass3d.io.formats.checks import Raw, farthest_mm, times
from mass3d.io.formats.nifti import read_nifti, read_nifti_grid
from mass3d.io.formats.parsers import PARSERS
from mass3d.io.formats.sniff import is_dicom, is_zip, sniff
from mass3d.io.in_memory import raw_image
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.volume import Volume

SAME_GRID_VOX = 0.1  # grids whose voxels are nowhere further apart than this are the same
WHOLE = 1e-3  # of a label value that lies nearer than this to a whole number
MAX_LABEL = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True)
class Header:
    """What a file says before its voxels are read."""

    grid: Grid
    source: SourceGrid


def read_volume(scan: Path | Series) -> Volume:
    """Read a scan: float32 voxels (D, H, W), HU for CT, SUV for PET. Raises `DataError`.

    PET is SUV where it comes as DICOM; other files hold what they hold. NaN and infinite voxels
    are replaced by the lowest finite value, with a note in `Volume.repairs`, when they are less
    than half of the scan; otherwise, and for a constant scan, it is refused.
    """
    found = resolved(scan)
    if not isinstance(found, Series):
        return _image(found, _read(found))
    volume = _image(found.path, read_series(found))
    return replace(volume, modality=series_modality(found), dicom=dicom_identity(found))


def read_stored(scan: Path | Series) -> Volume:
    """As `read_volume`, but whole numbers stay as they are stored: for a look, which is in a hurry.

    Voxels (D, H, W) may be of any kind of number, and a view.
    """
    found = resolved(scan)
    if isinstance(found, Series):
        return read_volume(found)
    raw = _read(found)
    if raw.voxels.dtype.kind not in "iu" or raw.fit.to_file is not None:
        return _image(found, raw)
    _require_volume(found, raw)
    source = raw.fit.source
    image = source.to_canonical(raw.voxels)
    _require_contrast(found, image)
    return Volume(image, source.grid, source, found, raw.repairs)


def read_label(path: Path, *, like: Volume | None = None) -> Volume:
    """Read a label map: uint16 voxels (D, H, W). Raises `DataError`.

    With `like`, the label must lie on the grid of that scan, to a tenth of a voxel, and gets
    exactly that grid. Numbers stored as floats are fine if they are whole, to 1e-3.
    """
    return _label(path, _read(path), like)


def volume_of(scan: Path | str | Volume | Any) -> Volume:
    """A scan from a path, an image of nibabel or SimpleITK, or a volume, as `read_volume` gives it.

    A `Volume` is returned as it is. Raises `DataError`, and `TypeError` for another object.
    """
    if isinstance(scan, Volume):
        return scan
    if isinstance(scan, str | Path):
        return read_volume(Path(scan))
    return _image(*raw_image(scan))


def label_of(label: Path | str | Volume | Any, *, like: Volume | None = None) -> Volume:
    """A label map from what `volume_of` takes, checked as `read_label` does.

    Raises `DataError`, also for a `Volume` on another grid than `like`; `TypeError` for another
    object.
    """
    if isinstance(label, Volume):
        values, _ = _label_values(label.path or Path("label"), label.voxels)
        return _on_grid(replace(label, voxels=values), like)
    if isinstance(label, str | Path):
        return read_label(Path(label), like=like)
    return _label(*raw_image(label), like)


def _image(path: Path, raw: Raw) -> Volume:
    """A scan of what a file holds. Raises `DataError`."""
    _require_volume(path, raw)
    fit, repairs, source = raw.fit, raw.repairs, raw.fit.source
    stored = source.to_canonical(raw.voxels) if fit.to_file is None else raw.voxels
    with np.errstate(over="ignore", invalid="ignore"):
        image = np.ascontiguousarray(stored, dtype=np.float32)  # the one copy of most scans
    del raw, stored
    repairs += _replace_bad_numbers(path, image)
    if fit.to_file is not None:
        image = np.ascontiguousarray(source.to_canonical(fit.resampled(image, label=False)))
    _require_contrast(path, image)
    return Volume(image, source.grid, source, path, repairs)


def _require_volume(path: Path, raw: Raw) -> None:
    if min(raw.voxels.shape) < 2:
        raise DataError(
            path,
            found=f"a single slice ({times(raw.voxels.shape)} voxels)",
            expected="a volume of at least 2 voxels along every axis",
            fix="Stack the slices of the scan into one file.",
        )


def _require_contrast(path: Path, image: NDArray[Any]) -> None:
    if image.min() == image.max():
        raise DataError(
            path,
            found=f"the same value ({image.flat[0]:g}) in every voxel",
            expected="an image",
            fix="Export the scan again; this file shows nothing.",
        )


def _label(path: Path, raw: Raw, like: Volume | None) -> Volume:
    """A label map of what a file holds. Raises `DataError`."""
    stored, notes = _label_values(path, raw.voxels)
    source = raw.fit.source
    label = np.ascontiguousarray(source.to_canonical(raw.fit.resampled(stored, label=True)))
    return _on_grid(Volume(label, source.grid, source, path, raw.repairs + notes), like)


def _on_grid(label: Volume, like: Volume | None) -> Volume:
    """The label with exactly the grid of its scan. Raises `DataError` where they differ."""
    if like is None:
        return label
    require_same_grid(label, like)
    return replace(label, grid=like.grid)


def read_grid(scan: Path | Series) -> Header:
    """The geometry of a scan or label map without its voxels. Raises `DataError`."""
    found = resolved(scan)
    if isinstance(found, Series):
        fit = read_series_grid(found)
    else:
        kind = sniff(found)
        fit = read_nifti_grid(found) if kind == "nifti" else PARSERS[kind](found).grid()
    return Header(fit.source.grid, fit.source)


def require_same_grid(label: Volume, image: Volume) -> None:
    """Raise `DataError` naming both files unless both lie on one grid."""
    ours, theirs = label.grid, image.grid
    apart = np.inf
    if ours.shape == theirs.shape:
        apart = farthest_mm(ours.shape, ours.affine, theirs.affine)
    if apart <= SAME_GRID_VOX * min(theirs.spacing_mm):
        return
    away = f", up to {apart:.3g} mm away" if np.isfinite(apart) else ""
    raise DataError(
        label.path or "label",
        found=f"a grid of {_describe(ours)}{away}",
        expected=f"the grid of {image.path or 'its image'}: {_describe(theirs)}",
        fix="Resample the label onto its image with the tool that made it.",
    )


def resolved(scan: Path | Series) -> Path | Series:
    """The series of a path that holds DICOM. Raises `DataError` where it holds several."""
    if isinstance(scan, Path) and (scan.is_dir() or is_zip(scan) or is_dicom(scan)):
        return only_series(scan)
    return scan


def _read(path: Path) -> Raw:
    kind = sniff(path)
    return read_nifti(path) if kind == "nifti" else PARSERS[kind](path).read()


def _label_values(path: Path, voxels: NDArray[Any]) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """Whole numbers from 0 on, and what was rounded. Raises `DataError` where they are others."""
    off = 0.0
    if voxels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.round(voxels)
            off = float(np.abs(voxels - whole).max())
        if not off <= WHOLE:  # NaN and infinity are off by NaN
            raise DataError(
                path,
                found="values that are not whole numbers",
                expected="a label map",
                fix="Check that this is the label, not the image or a probability map.",
            )
        voxels = whole
    lowest, highest = voxels.min(), voxels.max()
    if lowest < 0 or highest > MAX_LABEL:
        raise DataError(
            path,
            found=f"label values from {lowest:g} to {highest:g}",
            expected=f"0 (background) to {MAX_LABEL}",
            fix="Check that this is the label, not the image; renumber the structures.",
        )
    notes = (f"rounded label values, which were up to {off:.1g} off whole numbers",) if off else ()
    return voxels.astype(np.uint16), notes


def _replace_bad_numbers(path: Path, image: NDArray[np.float32]) -> tuple[str, ...]:
    """Replace voxels that are not finite numbers, in place; tell how many."""
    with np.errstate(invalid="ignore"):
        if np.isfinite(image.min()) and np.isfinite(image.max()):  # one NaN makes both NaN
            return ()
        bad = ~(np.abs(image) <= np.finfo(np.float32).max)
    count = int(bad.sum())
    if count * 2 >= image.size:
        raise DataError(
            path,
            found=f"{count} of {image.size} voxels that are NaN or infinite",
            expected="numbers in at least half of the scan",
            fix="Export the scan again.",
        )
    image[bad] = image[~bad].min()
    return (f"replaced {count} NaN or infinite voxels by the lowest value",)


def _describe(grid: Grid) -> str:
    spacing = " x ".join(f"{edge:.3g}" for edge in grid.spacing_mm)
    origin = ", ".join(f"{x:.1f}" for x in grid.affine[:3, 3])
    return f"{times(grid.shape)} voxels of {spacing} mm from ({origin})"
