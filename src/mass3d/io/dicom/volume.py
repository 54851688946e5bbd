"""A series -> voxels on a regular grid: HU for CT, SUV for PET."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from mass3d.errors import DataError
from mass3d.io.dicom.files import dicom_files
from mass3d.io.dicom.gather import gather
from mass3d.io.dicom.header import MODALITIES, Slice, reading
from mass3d.io.dicom.pixels import read_pixels, scaled
from mass3d.io.dicom.series import Series, places_of
from mass3d.io.dicom.stack import Stack, stack_slices
from mass3d.io.dicom.suv import suv_scale
from mass3d.io.formats.checks import Raw, placed
from mass3d.io.formats.skewed_axes import Fit
from mass3d.volume.volume import DicomIdentity, Modality


def read_series(series: Series) -> Raw:
    """Voxels (i, j, k) along rows, columns and slices, float32. Raises `DataError`."""
    stack = stack_slices(series)
    fit = placed(series.path, stack.shape, stack.affine)
    planes, notes = _planes(series, stack)
    voxels = _even_planes(planes, stack)
    repairs = stack.repairs + fit.notes + notes + series.lost
    return Raw(voxels.transpose(2, 1, 0), fit, repairs)


def read_series_grid(series: Series) -> Fit:
    """The grid, without the voxels. Raises `DataError`."""
    stack = stack_slices(series)
    return placed(series.path, stack.shape, stack.affine)


def series_modality(series: Series) -> Modality | None:
    """What the tag says; None for one that is not known here."""
    return MODALITIES.get(series.slices[0].modality)


def dicom_identity(series: Series) -> DicomIdentity:
    """What a DICOM segmentation of the series has to refer to."""
    first = series.slices[0]
    return DicomIdentity(
        study_uid=first.series[0],
        series_uid=first.series[1],
        frame_of_reference_uid=first.frame_of_reference,
        sop_class_uid=first.sop_class,
        instance_uids=tuple(dict.fromkeys(part.uid for part in series.slices)),
    )


def only_series(path: Path) -> Series:
    """The one series of a file, a folder (to any depth) or an archive. Raises `DataError`."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = gather(part for file in files if file.is_file() for part in dicom_files(file))
    if found.broken:
        raise found.broken[0].error
    if len(found.series) == 1:
        return found.series[0]
    names = ", ".join(one.title for one in found.series)
    reasons = "; ".join(f"{entry.files} x {entry.reason}" for entry in found.left_out)
    raise DataError(
        path,
        found=f"{len(found.series)} series ({names})"
        if names
        else f"no series ({reasons or 'no DICOM'})",
        expected="one DICOM series",
        fix="Name the folder that holds all slices of one series, and of no other.",
    )


def _planes(series: Series, stack: Stack) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Scaled slices (places, rows, columns), and what to tell. Raises `DataError`."""
    place_of = dict(zip(map(id, series.slices), places_of(series.slices), strict=True))
    planes = np.empty((0, 0, 0), np.float32)
    filled: dict[int, Slice] = {}
    padding: dict[int, NDArray[np.bool_]] = {}
    scale, copies = _Scale(series), 0
    for pixels in read_pixels(series.slices):
        part, place = pixels.part, place_of[id(pixels.part)]
        plane = scale.of(part, pixels.values, pixels.header)
        if not filled:  # only now is it sure that slices are as large as their headers say
            planes = np.empty((len(stack.places), *plane.shape), np.float32)
        if place not in filled:
            planes[place] = plane
            filled[place] = part
            if pixels.padding.any():
                padding[place] = pixels.padding
        elif np.array_equal(planes[place], plane):
            copies += 1
        else:
            raise _twice(filled[place], part)
    _darken(planes, padding)
    return planes, scale.notes + ((f"left out {copies} equal copies of slices",) if copies else ())


class _Scale:
    """From stored to meant intensities; the scale of PET is found at the first slice."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.suv: float | None = None
        self.notes: tuple[str, ...] = ()

    def of(self, part: Slice, stored: NDArray[Any], header: Dataset) -> NDArray[np.float32]:
        """The plane of a slice. Raises `DataError`."""
        if self.suv is None:
            self.suv = self._suv(header) if part.modality == "PT" else 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            return (scaled(part, stored, header) * self.suv).astype(np.float32)

    def _suv(self, header: Dataset) -> float:
        started = [part.acquired for part in self.series.slices]
        with reading(self.series.path):
            scale, self.notes = suv_scale(header, started=started, where=self.series.path)
        return scale


def _darken(planes: NDArray[np.float32], padding: dict[int, NDArray[np.bool_]]) -> None:
    """Give padding the lowest value of what was measured, in place: it is outside the body."""
    if not padding:
        return
    lowest = np.inf
    for place, plane in enumerate(planes):
        measured = plane[~padding[place]] if place in padding else plane
        lowest = min(lowest, float(measured.min(initial=np.inf)))
    if np.isfinite(lowest):
        for place, outside in padding.items():
            planes[place][outside] = lowest


def _twice(first: Slice, part: Slice) -> DataError:
    return DataError(
        part.file.shown,
        found=f"a second slice at the same place as {first.file.shown.name}, with other pixels and "
        "no tag that tells why",
        expected="one slice per place",
        fix="Move the files of each volume into a folder of its own.",
    )


def _even_planes(planes: NDArray[np.float32], stack: Stack) -> NDArray[np.float32]:
    """Slices at their places -> every place of the grid (k, j, i), linear between neighbours."""
    if stack.shifts.any():
        planes = _sheared(planes, stack)
    wanted = np.arange(stack.shape[2], dtype=np.float64)
    if np.array_equal(wanted, stack.places):
        return planes
    after = np.clip(np.searchsorted(stack.places, wanted - 1e-6), 1, len(stack.places) - 1)
    even = np.empty((len(wanted), *planes.shape[1:]), np.float32)
    for k, right in enumerate(after):
        low, high = stack.places[right - 1], stack.places[right]
        share = np.float32(np.clip((wanted[k] - low) / (high - low), 0, 1))
        even[k] = planes[right - 1] * (1 - share) + planes[right] * share
    return even


def _sheared(planes: NDArray[np.float32], stack: Stack) -> NDArray[np.float32]:
    """Every slice moved to its place on the grid, linear; what was never seen is the lowest."""
    columns, rows, _ = stack.shape
    moved = np.full((len(planes), rows, columns), planes.min(), np.float32)
    beyond = ((0, rows - planes.shape[1]), (0, columns - planes.shape[2]))
    for plane, target, (i, j) in zip(planes, moved, stack.shifts, strict=True):
        whole = ndimage.shift(np.pad(plane, beyond, "edge"), (j, i), order=1, mode="nearest")
        seen = np.ix_(_within(rows, j, plane.shape[0]), _within(columns, i, plane.shape[1]))
        target[seen] = whole[seen]
    return moved


def _within(size: int, start: float, length: int) -> NDArray[np.bool_]:
    """Which of `size` pixels lie between the first and the last of a line from `start`."""
    inside = np.arange(size) - start
    return (inside > -1e-3) & (inside < length - 1 + 1e-3)
