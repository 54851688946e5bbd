"""The slices of one series -> its volumes: what is apart by folder, tag or acquisition."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.io.dicom.header import DIMENSIONS, Slice
from mass3d.io.dicom.series import Series, places_of
from mass3d.io.names import safe_name

MAX_DIMENSIONS = 3  # dimensions besides space that a series is split along
ACQUISITION: Final = [tag for _, tag, _ in DIMENSIONS].index("AcquisitionNumber")


def volumes_of(group: list[Slice]) -> list[Series]:
    """The volumes of a group; the slices of each are sorted along the normal.

    Where places repeat, they are split by folder or by the tags that differ; where they do not,
    but lie between each other, by what tells acquisitions apart.
    """
    normal = group[0].normal
    group = _sorted(group, normal)
    places = places_of(group)
    most = max(Counter(places).values())
    apart = _by_folder(group, places) if most > 1 else []
    if apart:
        return [volume for parts in apart for volume in volumes_of(parts)]
    if most == 1:
        return _of_acquisitions(group)
    names = _split(group, places, most) if places[-1] > 0 else None
    if names is None:
        return [Series(tuple(group))]
    span = (float(np.dot(group[0].position, normal)), float(np.dot(group[-1].position, normal)))
    volumes: dict[str, list[Slice]] = defaultdict(list)
    for part, name in zip(group, names, strict=True):
        volumes[name].append(part)
    return [Series(tuple(parts), name, span) for name, parts in sorted(volumes.items())]


def _of_acquisitions(group: list[Slice]) -> list[Series]:
    """The volumes of slices that all lie at places of their own; they are sorted along the normal.

    Two scans make one even grid where one lies between the slices of the other, or behind it. They
    are apart where instance numbers repeat, by the tags or folders within which they do not; and
    where acquisitions or folders lie between each other, unless the numbers run through all of
    them. Acquisitions one behind the other are one scan, as scanners take it.
    """
    numbers = [(part.instance, part.frame) for part in group]
    counts = Counter(numbers)
    repeated = sum(count > 1 for count in counts.values())
    if len(counts) > 1 and 2 * repeated >= len(counts):
        order = [sorted(counts).index(number) for number in numbers]
        names = _by_tags(group, order, max(counts.values())) or _by_numbered_folder(group)
        if names is None:
            return [Series(tuple(group), doubt=f"{repeated} instance numbers at several places")]
        return _named(group, names)
    if len(counts) > 1 and numbers in (sorted(counts), sorted(counts, reverse=True)):
        return [Series(tuple(group))]
    acquisitions = [part.dimensions[ACQUISITION] for part in group]
    if _lie_between(acquisitions):
        return _named(group, _volume_names([ACQUISITION], [(key,) for key in acquisitions]))
    if _lie_between([part.file.shown.parent for part in group]):
        return _named(group, _folder_names(group))
    return [Series(tuple(group))]


def _named(group: list[Slice], names: list[str]) -> list[Series]:
    """A series for every name. Folders tell already what series are called by them."""
    volumes: dict[str, list[Slice]] = defaultdict(list)
    for part, name in zip(group, names, strict=True):
        volumes[name].append(part)
    return [
        Series(tuple(parts), "" if name.startswith("/") else name)
        for name, parts in sorted(volumes.items())
    ]


def _folder_names(group: list[Slice]) -> list[str]:
    return [f"/{part.file.shown.parent}" for part in group]


def _by_numbered_folder(group: list[Slice]) -> list[str] | None:
    """The folder of each slice, if no folder has an instance number twice."""
    folders = _folder_names(group)
    known = Counter((f, part.instance, part.frame) for f, part in zip(folders, group, strict=True))
    return folders if max(known.values()) == 1 else None


def _lie_between(keys: Sequence[object]) -> bool:
    """Whether the slices of several keys, sorted by place, lie between each other.

    A key of one slice is none: some scanners count every slice as an acquisition.
    """
    counts = Counter(keys)
    if len(counts) < 2 or min(counts.values()) < 2:
        return False
    blocks = sum(a != b for a, b in pairwise(keys)) + 1
    return blocks > len(counts)


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


def _split(group: list[Slice], places: list[int], most: int) -> list[str] | None:
    """A name of a volume for each slice, by the fewest dimensions that tell them apart.

    None where nothing tells the slices at one place from each other.
    """
    return _by_tags(group, places, most) or _by_instance(group, places, most)


def _by_tags(group: list[Slice], places: list[int], most: int) -> list[str] | None:
    """A name for each slice, by tags that are different for all slices of one place.

    There must be as many volumes as slices at the fullest place: a tag that differs from slice
    to slice is no dimension.
    """
    columns = [[part.dimensions[number] for part in group] for number in range(len(DIMENSIONS))]
    varying = [number for number, column in enumerate(columns) if len(set(column)) > 1]
    for together in range(1, MAX_DIMENSIONS + 1):
        for chosen in combinations(varying, together):
            keys = [tuple(columns[number][i] for number in chosen) for i in range(len(group))]
            if len(set(keys)) == most and len(set(zip(places, keys, strict=True))) == len(group):
                return _volume_names(chosen, keys)
    return None


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
