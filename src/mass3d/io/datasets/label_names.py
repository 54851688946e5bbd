"""What label maps call their own values, where a table in their header says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from mass3d.errors import DataError
from mass3d.io.formats.label_table import names_in
from mass3d.io.formats.nifti import read_extensions
from mass3d.io.formats.sniff import sniff

Table = Mapping[str, int]  # name -> label value


def label_names(path: Path) -> dict[str, int]:
    """Name -> value of the table in the header of a label map; empty where there is none.

    Raises `DataError` for a file that cannot be read.
    """
    if sniff(path) != "nifti":
        return {}
    tables = map(names_in, read_extensions(path))
    return next((table for table in tables if table), {})


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


def require_no_other_values(tables: Mapping[Path, Table], structures: Table, where: Path) -> None:
    """Raise `DataError` where a table says another value for a structure than `where` does.

    Other names for the same values may be synonyms: they are let pass.
    """
    for path, table in tables.items():
        for name, value in table.items():
            if structures.get(name, value) != value:
                before = f"{name} = {structures[name]}"
                raise _contradiction(path, f"{name} = {value}", before, where)


def _contradiction(path: Path, found: str, before: str, where: Path) -> DataError:
    return DataError(
        path,
        found=f"a table of names that says {found}",
        expected=f"{before}, as {where} says",
        fix="Renumber one of them, or say which structure has which value.",
        setting="structures",
    )
