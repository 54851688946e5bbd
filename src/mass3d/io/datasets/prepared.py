"""Prepared stores that are given in place of scans: which scans they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from mass3d.errors import DataError
from mass3d.files import read_json

STORE: Final = "store.json"  # lies in every prepared store; the room of stores is not known here
RECORD: Final = "record.json"
NOT_STORED: Final = "a scan that the store does not hold"


class MadeOf(NamedTuple):
    """What a store was made of."""

    inputs: tuple[Path, ...]  # files and folders
    case_ids: frozenset[str]  # of its scans among these


def is_store(path: Path) -> bool:
    """Whether a path is a prepared store."""
    return (path / STORE).is_file()


def made_of(store: Path) -> MadeOf:
    """What `prepare` was last given for a store, and which scans the store holds.

    Raises `DataError` where that is not told, or is no longer there.
    """
    try:
        given = read_json(store / RECORD)["config"]["inputs"]
        found = MadeOf(tuple(map(Path, given)), frozenset(read_json(store / STORE)["cases"]))
    except (OSError, ValueError, KeyError, TypeError):
        found = MadeOf((), frozenset())
    lost = [str(path) for path in found.inputs if not path.exists()]
    if lost or not found.inputs:
        where = f"at {', '.join(lost)} any more" if lost else "where a record would tell"
        raise without_scans(store, f"a prepared store, whose scans are not {where}")
    return found


def without_scans(store: Path, found: str) -> DataError:
    """The error for a store in place of scans that cannot be had."""
    return DataError(
        store,
        found=found,
        expected="the scans themselves",
        fix="Give the scans that it was made of, or the files *_image.nii.gz that "
        f"mass3d extract {store} -o DIR writes.",
    )
