"""Check every byte of a store and tell all faults at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mass3d.errors import StoreError
from mass3d.store.reader import (
    Store,
    StoredCase,
    read_record,
    require_content,
    require_size,
)
from mass3d.store.schema import CASES, PARTS, RECORD, case_folder


def check_store(path: Path) -> list[StoreError]:
    """All faults of a store, case by case; an empty list means that it can be trusted.

    Compares every checksum, unpacks every array and counts every mask. A store whose index
    cannot be trusted has that one fault.
    """
    try:
        store = Store.open(path)
    except StoreError as error:
        return [error]
    faults = [fault for case_id in store.case_ids for fault in _check_case(store, case_id)]
    return faults + [_unlisted(folder) for folder in _folders(path, store)]


def _check_case(store: Store, case_id: str) -> list[StoreError]:
    folder = case_folder(store.path, case_id)
    faults = []
    try:
        record = read_record(folder)
    except StoreError as error:
        return [error]
    for name in PARTS:
        try:
            require_size(folder, record, name)
            require_content(folder, record, name)
        except StoreError as error:
            faults.append(error)
    if faults:
        return faults
    try:
        case = store.case(case_id)
        return _check_content(case)
    except StoreError as error:
        return [error]


def _check_content(case: StoredCase) -> list[StoreError]:
    faults = []
    if not np.isfinite(case.read_image()).all():
        faults.append(_misfit(case, "an image that is not finite", "finite intensities"))
    table, layers = case.table, case.read_layers()
    for number, ranks in enumerate(layers):
        rows = table.layer == number
        up_to = np.bincount(ranks.ravel(), minlength=int(table.last[rows].max(initial=0)) + 1)
        up_to = up_to.cumsum()
        counted = up_to[table.last[rows]] - up_to[table.first[rows].astype(np.int64) - 1]
        wrong = int((counted != table.voxels[rows]).sum())
        if wrong:
            faults.append(
                _misfit(
                    case,
                    f"{wrong} masks of layer {number} whose size is not that of the table",
                    "layers and table that fit",
                )
            )
    return faults


def _folders(path: Path, store: Store) -> list[Path]:
    return sorted(p for p in (path / CASES).iterdir() if p.name not in store.index.cases)


def _unlisted(folder: Path) -> StoreError:
    return StoreError(
        folder,
        found="a case that the index does not list",
        expected="listed cases only",
        fix="Run the same mass3d prepare again, or delete it.",
    )


def _misfit(case: StoredCase, found: str, expected: str) -> StoreError:
    return StoreError(
        case.folder / RECORD,
        found=found,
        expected=expected,
        fix="Run mass3d prepare anew into an empty folder.",
    )
