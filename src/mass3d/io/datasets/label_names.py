"""What label maps call their own values, where a table in their header says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import DataError
from mass3d.io.colours import Colour
from mass3d.io.formats.label_table import colours_in, names_in
from mass3d.io.formats.nifti import read_extensions
from mass3d.io.formats.sniff import sniff

Table = Mapping[str, int]  # name -> label value


def label_names(path: Path) -> dict[str, int]:
    """Name -> value of the table in the header of a label map; empty where there is none.

    Raises `DataError` for a file that cannot be read.
    """
    tables = map(names_in, _extensions(path))
    return next((table for table in tables if table), {})


def label_colours(paths: Iterable[Path], values: Collection[int]) -> dict[int, Colour]:
    """Colours of some values, of the first label map whose header has one for each of them.

    A table that does not tell them apart, as of a program that writes white for all, is none. Empty
    where there is none. Raises `DataError` for a file that cannot be read.
    """
    for path in paths:
        for table in map(colours_in, _extensions(path)):
            found = {value: table[value] for value in values if value in table}
            if len(found) == len(values) == len(set(found.values())):
                return found
    return {}


def _extensions(path: Path) -> list[bytes]:
    return read_extensions(path) if sniff(path) == "nifti" else []


def common_names(tables: Mapping[Path, Table], values: Collection[int]) -> dict[str, int] | None:
    """The names of those of the `values` that any table names, by value; None where none does.

    tables: of several label maps. Raises `DataError` where two contradict each other.
    """
    named: dict[str, tuple[int, Path]] = {}
    called: dict[int, tuple[str, Path]] = {}
    for path, table in tables.items():
        for name, value in table.items():
            if value not in values:
                continue
            value_before, where = named.setdefault(name, (value, path))
            if value_before != value:
                raise _contradiction(path, f"{name} = {value}", f"{name} = {value_before}", where)
            name_before, where = called.setdefault(value, (name, path))
            if name_before != name:
                raise _contradiction(path, f"{value} = {name}", f"{value} = {name_before}", where)
    return {called[value][0]: value for value in sorted(called)} or None


@dataclass(frozen=True)
class Named:
    """A table of names, and where it stands."""

    path: Path
    side: str  # in words, as in "the labels"
    table: Table


def two_names(base: Named, others: Iterable[Named]) -> tuple[str, ...]:
    """A sentence for each value that is called otherwise than `base` calls it, by value.

    Other names may be synonyms: they are let pass, but whoever knows better must see them. Case,
    blanks, `_` and `-` make no other name. Raises `DataError` where the same words (left kidney,
    kidney_left) have another value than in `base`.
    """
    called = {value: name for name, value in base.table.items()}
    told: dict[str, int] = {}
    seen: set[tuple[str, str, int]] = set()  # a thousand headers say the same
    for one in others:
        for name, value in one.table.items():
            if (one.side, name, value) in seen:
                continue
            seen.add((one.side, name, value))
            _require_same_value(base, one, name)
            before = called.get(value)
            # a name that is the number itself says nothing
            if before is None or str(value) in (name, before) or _alike(name, before):
                continue
            here = f"headers of {one.side}" if one.side == base.side else one.side
            told[f"value {value} is `{name}` in {here} and `{before}` in {base.side}"] = value
    return tuple(sorted(told, key=lambda sentence: told[sentence]))


def _require_same_value(base: Named, one: Named, name: str) -> None:
    """Raise `DataError` where `base` has a name, or its words, for other values alone."""
    words = sorted(_words(name))
    exact = [name] if name in base.table else []
    same = exact or [known for known in base.table if words and sorted(_words(known)) == words]
    if same and one.table[name] not in {base.table[known] for known in same}:
        before = f"{same[0]} = {base.table[same[0]]}"
        raise _contradiction(one.path, f"{name} = {one.table[name]}", before, base.path)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\s_-]+", name.casefold()) if word]


def _alike(name: str, other: str) -> bool:
    return "".join(_words(name)) == "".join(_words(other))


def _contradiction(path: Path, found: str, before: str, where: Path) -> DataError:
    return DataError(
        path,
        found=f"a table of names that says {found}",
        expected=f"{before}, as {where} says",
        fix="Renumber one of them, or say which structure has which value.",
        setting="structures",
    )
