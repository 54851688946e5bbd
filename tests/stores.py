"""What is wrong with a whole store, as `mass3d check` finds it, in this process."""

from __future__ import annotations

from pathlib import Path

from mass3d.errors import StoreError
from mass3d.store.check import check_case, unlisted_cases
from mass3d.store.reader import Store


def check_store(path: Path) -> list[StoreError]:
    """All faults, case by case; a store whose index cannot be trusted has that one."""
    try:
        store = Store.open(path)
    except StoreError as error:
        return [error]
    faults = [fault for case_id in store.case_ids for fault in check_case(store, case_id)]
    return faults + unlisted_cases(store)
