"""DICOM files -> series, by what their headers say: what belongs together, and what is no scan."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from mass3d.errors import DataError
from mass3d.io.dicom.files import DicomFile, opened
from mass3d.io.dicom.header import Slice, read_slices
from mass3d.io.dicom.pixels import read_pixels
from mass3d.io.dicom.series import Series, places_of
from mass3d.io.dicom.volumes import volumes_of
from mass3d.io.left_out import LeftOut

ONE_STACK = 0.05  # of unit vectors: slices that differ more are of different orientations
SAME_EDGES = 1e-3  # of voxel edges, relative


@dataclass(frozen=True)
class Broken:
    """Files that should be part of a scan but cannot be, for one and the same reason."""

    file: DicomFile
    error: DataError


@dataclass(frozen=True)
class Gathered:
    """What some DICOM files are."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    broken: tuple[Broken, ...]


def gather(files: Iterable[DicomFile]) -> Gathered:
    """Read all headers and group the slices: by series, orientation, size, spacing, then volume."""
    slices: list[Slice] = []
    reasons: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    broken: dict[tuple[str, Path], Broken] = {}
    for file, found in _headers(files):
        if isinstance(found, DataError):
            broken.setdefault((found.found, file.shown.parent), Broken(file, found))
        elif isinstance(found, str):
            reasons[found, file.shown.parent].append(file.shown)
        else:
            slices += found
    slices = _without_copies(slices, reasons)
    lost = _lost(slices)
    series = []
    for group in _groups(slices):
        for volume in volumes_of(group):
            if places_of(volume.slices)[-1] > 0:
                series.append(replace(volume, lost=lost[group[0].series]))
            else:
                shown = sorted({part.file.shown for part in volume.slices})
                reasons["a single slice", shown[0].parent] += shown
    left_out = (LeftOut(paths[0], reason, len(paths)) for (reason, _), paths in reasons.items())
    return Gathered(
        tuple(series),
        tuple(sorted(left_out, key=lambda entry: (entry.path, entry.reason))),
        tuple(broken.values()),
    )


def _headers(
    files: Iterable[DicomFile],
) -> Iterator[tuple[DicomFile, tuple[Slice, ...] | str | DataError]]:
    """The slices of every file, why it has none, or what is wrong with it.

    A file or archive that breaks while it is read does not keep the others from being read.
    """
    for _, run in groupby(sorted(set(files)), key=lambda file: file.path):
        waiting = list(run)
        try:
            for file, stream in opened(list(waiting)):
                waiting.remove(file)
                try:
                    yield file, read_slices(file, stream)
                except DataError as error:
                    yield file, error
        except DataError as error:
            for file in waiting:
                yield file, error


def _without_copies(
    slices: Sequence[Slice], reasons: dict[tuple[str, Path], list[Path]]
) -> list[Slice]:
    """Every slice once: the same one may lie in two folders. The others are left out.

    A copy has the same identifiers, place and pixels. Equal identifiers alone say nothing: tools
    that anonymise may give all slices one, and a denoised or defaced scan may keep those it had.
    """
    alike: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for part in slices:
        key = (part.series, part.uid, part.frame, part.instance, part.dimensions, part.position)
        alike[key if part.uid else (id(part),)].append(part)
    contents = _contents([part for parts in alike.values() if len(parts) > 1 for part in parts])
    seen: set[tuple[object, ...]] = set()
    kept = []
    for same, parts in alike.items():
        for part in parts:
            content = (same, contents.get(id(part), ""))
            if len(parts) > 1 and content in seen:
                reasons["a copy of another slice", part.file.shown.parent].append(part.file.shown)
            else:
                seen.add(content)
                kept.append(part)
    return kept


def _contents(slices: Sequence[Slice]) -> dict[int, str]:
    """A hash of the values of the pixels of each slice, by `id`.

    Slices whose pixels cannot be read are copies of none: that they are broken is told later.
    """
    found: dict[int, str] = {}
    for _, run in groupby(slices, key=lambda part: part.file):
        parts = list(run)
        try:
            for pixels in read_pixels(parts):
                values = np.ascontiguousarray(pixels.values, np.int64).tobytes()
                found[id(pixels.part)] = hashlib.sha256(values).hexdigest()
        except DataError:
            found.update({id(part): f"unread {part.file.shown}" for part in parts})
    return found


def _lost(slices: Iterable[Slice]) -> dict[tuple[str, str], tuple[str, ...]]:
    """For each series what its headers say about files that are not there.

    Lost slices leave no trace in the places of the others where they were the first or the last.
    They do in the number of images, or in instance numbers that begin a little above 1.
    """
    of_series: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    for part in slices:
        of_series[part.series].append(part)
    notes: dict[tuple[str, str], tuple[str, ...]] = {}
    for series, parts in of_series.items():
        found, most = len(parts), max(part.images for part in parts)
        first = min(part.instance for part in parts)
        if found < most:
            sentence = f"the headers speak of {most} images of this series; {found} were found"
        elif 1 < first <= found and not any(part.frame for part in parts):
            sentence = f"instance numbers begin at {first}: slices before may be missing"
        else:
            sentence = ""
        notes[series] = (sentence,) if sentence else ()
    return notes


def _groups(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Slices of one series, patient, frame of reference, size, orientation and spacing.

    Orientation and spacing are compared to a tolerance. Identifiers that no two slices share say
    nothing: some tools that anonymise give every file its own.
    """
    series: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for part in slices:
        series[part.series, part.modality, part.shape].append(part)
    groups = []
    for parts in series.values():
        patients = _telling([part.patient for part in parts])
        frames = _telling([part.frame_of_reference for part in parts])
        alike: dict[tuple[str, str], list[list[Slice]]] = defaultdict(list)
        for part, patient, frame in zip(parts, patients, frames, strict=True):
            found = alike[patient, frame]
            group = next((group for group in found if _parallel(group[0], part)), None)
            if group is None:
                found.append([part])
            else:
                group.append(part)
        groups += [group for found in alike.values() for group in found]
    return groups


def _telling(identifiers: list[str]) -> list[str]:
    """The identifiers of slices, or nothing for all of them where each has its own."""
    return (
        identifiers if len(set(identifiers)) < max(2, len(identifiers)) else [""] * len(identifiers)
    )


def _parallel(a: Slice, b: Slice) -> bool:
    """Whether two slices belong to one stack; how far its orientations may differ is seen later."""
    edges = np.divide(a.pixel_mm, b.pixel_mm) if min(b.pixel_mm) > 0 else np.zeros(2)
    return bool(
        np.allclose(a.axes, b.axes, atol=ONE_STACK, rtol=0)
        and np.allclose(edges, 1, atol=SAME_EDGES)
    )
