"""Slices -> series: what belongs to one volume, by content, and what each volume is called."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.dicom.files import DicomFile, opened
from mass3d.io.dicom.header import DIMENSIONS, Slice, read_slices
from mass3d.io.formats.sniff import is_zip
from mass3d.io.left_out import LeftOut
from mass3d.io.names import safe_name

SAME_MM = 0.01  # slices nearer to each other along the normal lie at one place
SAME_AXES = 1e-3  # of unit vectors and, relative, of voxel edges
MAX_DIMENSIONS = 3  # dimensions besides space that a series is split along
PLANES: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Series:
    """The slices of one volume, sorted along their normal. A series of several volumes is several.

    `span_mm` is from the first to the last place, along the normal, of all volumes it was split
    into: one that does not reach them has lost slices.
    """

    slices: tuple[Slice, ...]
    volume: str = ""  # which of several volumes, such as b1000 or echo2
    span_mm: tuple[float, float] = (np.inf, -np.inf)
    lost: tuple[str, ...] = ()  # how the headers tell that files are missing

    @property
    def path(self) -> Path:
        """The archive, the file of a lone one, or the folder that holds all its files."""
        paths = sorted({part.file.path for part in self.slices})
        if is_zip(paths[0]) or len(paths) == 1:
            return paths[0]
        return Path(os.path.commonpath([path.parent for path in paths]))

    @property
    def title(self) -> str:
        """Number, description and volume, for messages."""
        return f"{self.slices[0].label} {self.volume}".strip() or "without number and description"


@dataclass(frozen=True)
class Broken:
    """Files that should be part of a scan but cannot be, for one and the same reason."""

    file: DicomFile
    error: DataError


@dataclass(frozen=True)
class Gathered:
    """What a heap of DICOM files is."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    broken: tuple[Broken, ...]


def gather(files: Iterable[DicomFile]) -> Gathered:
    """Read all headers and group the slices: by series, orientation, size, spacing, then volume."""
    slices: list[Slice] = []
    reasons: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    broken: dict[tuple[str, Path], Broken] = {}
    for file, stream in opened(sorted(set(files))):
        try:
            found = read_slices(file, stream)
        except DataError as error:
            broken.setdefault((error.found, file.shown.parent), Broken(file, error))
            continue
        if isinstance(found, str):
            reasons[found, file.shown.parent].append(file.shown)
        else:
            slices += found
    slices = _without_copies(slices, reasons)
    lost = _lost(slices)
    series = []
    for group in _groups(slices):
        for volume in _volumes(group):
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


def _without_copies(
    slices: Sequence[Slice], reasons: dict[tuple[str, Path], list[Path]]
) -> list[Slice]:
    """Every slice once: the same one may lie in two folders. The others are left out.

    Tools that anonymise may give all slices one UID; what names several places names no slice.
    """
    places: dict[tuple[str, int], set[tuple[float, ...]]] = defaultdict(set)
    for part in slices:
        places[part.uid, part.frame].add(part.position)
    seen: set[tuple[object, ...]] = set()
    kept = []
    for part in slices:
        key = (part.series, part.uid, part.frame, part.instance, part.dimensions)
        if part.uid and len(places[part.uid, part.frame]) == 1 and key in seen:
            reasons["a copy of another slice", part.file.shown.parent].append(part.file.shown)
        else:
            seen.add(key)
            kept.append(part)
    return kept


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
    """Slices of one series, orientation, size and spacing; these two to a tolerance."""
    groups: dict[tuple[object, ...], list[list[Slice]]] = defaultdict(list)
    for part in slices:
        alike = groups[part.series, part.modality, part.shape]
        home = next((group for group in alike if _parallel(group[0], part)), None)
        if home is None:
            alike.append([part])
        else:
            home.append(part)
    return [group for alike in groups.values() for group in alike]


def _parallel(a: Slice, b: Slice) -> bool:
    edges = np.divide(a.pixel_mm, b.pixel_mm) if min(b.pixel_mm) > 0 else np.zeros(2)
    return bool(
        np.allclose(a.axes, b.axes, atol=SAME_AXES, rtol=0)
        and np.allclose(edges, 1, atol=SAME_AXES)
    )


def _volumes(group: list[Slice]) -> list[Series]:
    """Split where places repeat; the slices of each volume are sorted along the normal."""
    normal = group[0].normal
    group = _sorted(group, normal)
    places = places_of(group)
    most = max(Counter(places).values())
    apart = _by_folder(group, places) if most > 1 else []
    if apart:
        return [volume for parts in apart for volume in _volumes(parts)]
    names = _split(group, places, most) if places[-1] > 0 and most > 1 else None
    if names is None:
        return [Series(tuple(group))]
    span = (float(np.dot(group[0].position, normal)), float(np.dot(group[-1].position, normal)))
    volumes: dict[str, list[Slice]] = defaultdict(list)
    for part, name in zip(group, names, strict=True):
        volumes[name].append(part)
    return [Series(tuple(parts), name, span) for name, parts in sorted(volumes.items())]


def _by_folder(group: list[Slice], places: list[int]) -> list[list[Slice]]:
    """The slices of each folder, if all of several folders have slices at the same places.

    So lie the scans of several patients whose identifiers were all replaced by the same, and
    volumes that were exported one by one.
    """
    folders: dict[Path, list[Slice]] = defaultdict(list)
    seen: dict[Path, set[int]] = defaultdict(set)
    for part, place in zip(group, places, strict=True):
        folder = part.file.shown.parent
        folders[folder].append(part)
        seen[folder].add(place)
    alike = len({frozenset(found) for found in seen.values()}) == 1
    return list(folders.values()) if alike and len(folders) > 1 else []


def _sorted(group: list[Slice], normal: NDArray[np.float64]) -> list[Slice]:
    """By place, and at one place by instance number and frame."""
    along = {id(part): float(np.dot(part.position, normal)) for part in group}
    group = sorted(group, key=lambda part: along[id(part)])
    places = {id(part): place for part, place in zip(group, places_of(group), strict=True)}
    return sorted(group, key=lambda part: (places[id(part)], part.instance, part.frame, part.file))


def places_of(slices: Sequence[Slice]) -> list[int]:
    """The number of the place of each slice; slices are sorted along their normal."""
    along = np.dot([part.position for part in slices], slices[0].normal)
    return [0, *np.cumsum(np.abs(np.diff(along)) > SAME_MM).tolist()]


def _split(group: list[Slice], places: list[int], most: int) -> list[str] | None:
    """A name of a volume for each slice, by the fewest dimensions that tell them apart.

    There must be as many volumes as slices at the fullest place: a tag that differs from slice
    to slice is no dimension. None where the slices at one place do not differ in any tag.
    """
    columns = [[part.dimensions[number] for part in group] for number in range(len(DIMENSIONS))]
    varying = [number for number, column in enumerate(columns) if len(set(column)) > 1]
    for together in range(1, MAX_DIMENSIONS + 1):
        for chosen in combinations(varying, together):
            keys = [tuple(columns[number][i] for number in chosen) for i in range(len(group))]
            if len(set(keys)) == most and len(set(zip(places, keys, strict=True))) == len(group):
                return _volume_names(chosen, keys)
    return _by_instance(group, places, most)


def _volume_names(chosen: Sequence[int], keys: list[tuple[Any, ...]]) -> list[str]:
    """One word per dimension, joined: b1000-dir2."""
    words = []
    for place, number in enumerate(chosen):
        values = sorted({key[place] for key in keys}, key=_order)
        words.append({value: _word(DIMENSIONS[number][0], value, values) for value in values})
    return ["-".join(words[i][value] for i, value in enumerate(key)) for key in keys]


def _word(dimension: str, value: Any, values: list[Any]) -> str:
    """A value as a name: what it is where that is short, else its number among the values."""
    if dimension == "b" and isinstance(value, float):
        return f"b{value:g}"
    if dimension == "type" and all(isinstance(other, tuple) for other in values):
        common = set.intersection(*(set(other) for other in values))
        own = safe_name("-".join(text for text in value if text not in common)).lower()
        if own:
            return own
    return f"{dimension}{values.index(value) + 1:0{len(str(len(values)))}}"


def _by_instance(group: list[Slice], places: list[int], most: int) -> list[str] | None:
    """Volumes by the order of instance numbers, where all places have as many slices."""
    counts = set(Counter(places).values())
    order = {(part.instance, part.frame) for part in group}
    if counts != {most} or len(order) < len(group):
        return None
    seen: Counter[int] = Counter()
    names = []
    for place in places:  # slices of one place are sorted by instance number
        seen[place] += 1
        names.append(f"t{seen[place]:0{len(str(most))}}")
    return names


def _order(value: Any) -> tuple[bool, str, Any]:
    return value is not None, type(value).__name__, value
