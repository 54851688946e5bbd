"""What the case of a DICOM series is called: its folder, and its number and text where needed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mass3d.io.dicom.series import Series
from mass3d.io.formats.sniff import is_zip
from mass3d.io.names import safe_name


def name_series(series: Sequence[Series], roots: Sequence[Path]) -> dict[str, Series]:
    """A case id for each: the folder where that holds one series, else folder, number and text.

    The folder is named by its way from the root of the search, so that an id does not depend on
    what else is found; ids are made of letters, digits, dots, dashes and underscores.
    """
    order = sorted(series, key=lambda one: (one.path, one.slices[0].label, one.slices[0].file))
    lone = Counter(one.path for one in order)
    plain = [_case_id(one, roots, lone[one.path] == 1, above=0) for one in order]
    paths = {(name, one.path) for name, one in zip(plain, order, strict=True)}
    twice = {name for name, count in Counter(name for name, _ in paths).items() if count > 1}
    named: dict[str, Series] = {}
    for one, name in zip(order, plain, strict=True):
        if name in twice:  # folders of one name, each given as a root
            name = _case_id(one, roots, lone[one.path] == 1, above=1)  # noqa: PLW2901
        number, unique = 1, name
        while unique in named:
            number += 1
            unique = f"{name}_{number}"
        named[unique] = one
    return named


def _case_id(one: Series, roots: Sequence[Path], lone: bool, *, above: int) -> str:
    base = folder_name(one.path, roots, above=above)
    if lone:
        return base
    parts = (base, safe_name(one.slices[0].label), one.volume)
    return "_".join(part for part in parts if part)


def folder_name(path: Path, roots: Sequence[Path], *, above: int = 0) -> str:
    """The way from the root to a folder or archive, as a name; `above` takes more of the root."""
    place = _without_dots(path)
    place = place.with_suffix("") if is_zip(path) else place
    tops = [top for top in map(_without_dots, roots) if place.is_relative_to(top)]
    top = max(tops, key=lambda root: len(root.parts), default=place)
    parts = place.relative_to(top).parts or (place.name,)
    more = place.parts[: len(place.parts) - len(parts)]
    parts = (*more[len(more) - above :], *parts) if above else parts
    return "_".join(filter(None, map(safe_name, parts))) or "dicom"


def _without_dots(path: Path) -> Path:
    """Absolute, and through links as it was found: what a link leads to may have another name."""
    return Path(os.path.normpath(path.absolute()))
