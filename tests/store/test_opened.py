"""Cases of a large cohort: what is read is the same, and only the last ones stay open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import StoreError
from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import encode
from mass3d.store.opened import OpenedCases
from mass3d.store.reader import StoredCase
from mass3d.store.records import read_record
from mass3d.store.schema import StoreSettings
from mass3d.store.several import Stores
from mass3d.store.writer import discard_case, replace_masks


@pytest.fixture
def cases(make_store: Callable[..., Path], tmp_path: Path) -> list[StoredCase]:
    stores = Stores.open([make_store(tmp_path / "store", tuple("abcdef"))])
    return list(stores.cases())


def open_files() -> int:
    """Files of stores that this process has open. Linux only."""
    entries = list(Path("/proc/self/fd").iterdir())
    return sum("/store/cases/" in str(entry.readlink()) for entry in entries if entry.exists())


def test_only_the_last_cases_stay_open(cases: list[StoredCase]) -> None:
    opened, begun = OpenedCases(cases, limit=2), open_files()
    for number in (0, 1, 2, 3, 4, 5, 0, 1):
        case = opened[number]
        assert case.case_id == cases[number].case_id
        assert case.read_image().shape == case.shape
        assert case.read_layers().shape[1:] == case.shape
        assert open_files() <= begun + 2 * (2 + 1)  # and the one in hand
    assert opened[1] is opened[1]
    assert opened[0] is not cases[0]
    kept = opened[1]
    table = kept.table
    assert opened[0] is not opened[1]
    assert opened[1].table is table  # still open, as it was asked for last but one


def test_going_through_all_of_them_opens_nothing(cases: list[StoredCase]) -> None:
    opened = OpenedCases(cases, limit=2)
    first = opened[0]
    assert [case.case_id for case in opened] == list("abcdef")
    assert opened[0] is first
    assert len(opened) == 6
    assert [case.case_id for case in opened[1:3]] == ["b", "c"]
    with pytest.raises(IndexError):
        opened[6]


def test_threads_that_draw_from_all_read_what_is_there(cases: list[StoredCase]) -> None:
    opened = OpenedCases(cases, limit=1)
    expected = cases[0].read_image()  # all have the same voxels

    def read(number: int) -> bool:
        return bool(np.array_equal(opened[number % 6].read_image(), expected))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(60)))


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 2]], ids=["as many", "fewer"])
@pytest.mark.parametrize("what", ["table", "layers", "image"])
def test_a_case_whose_masks_were_changed_meanwhile_is_not_read_on(
    cases: list[StoredCase],
    masks: MaskSet,
    settings: StoreSettings,
    rows: list[int],
    what: str,
) -> None:
    """As by `mass3d masks` during a long run, which went on with the new ones, and said nothing."""
    opened = OpenedCases(cases, limit=1)
    known = opened[0].read_layers(), opened[0].read_image()
    root, record = cases[0].folder.parents[1], read_record(cases[0].folder)
    turned = [masks.mask(row)[::-1] for row in rows]
    replace_masks(root, record, encode(turned, scores=[1.0] * len(rows), engine="test"), settings)
    kept = opened[0]
    np.testing.assert_array_equal(kept.read_layers(), known[0])  # what is open stays what it was
    np.testing.assert_array_equal(kept.read_image(), known[1])
    assert opened[1].read_image().shape == cases[1].shape  # and closes the first one
    reads = {
        "table": lambda case: case.table,
        "layers": StoredCase.read_layers,
        "image": StoredCase.read_image,
    }
    with pytest.raises(StoreError, match=r"changed while it was read; begin a new run") as told:
        reads[what](opened[0])
    assert "cases/a" in str(told.value)
    assert "prepare" not in str(told.value)


def test_a_case_that_was_removed_meanwhile_is_not_called_broken(cases: list[StoredCase]) -> None:
    discard_case(cases[0].folder.parents[1], "a")
    with pytest.raises(StoreError, match="changed while it was read"):
        cases[0].read_image()


def test_a_case_that_was_written_again_as_it_was_is_read_on(
    cases: list[StoredCase], masks: MaskSet, settings: StoreSettings
) -> None:
    before, record = cases[0].read_layers(), cases[0].record
    replace_masks(cases[0].folder.parents[1], record, masks, settings, engines=record.engines)
    np.testing.assert_array_equal(cases[0].unopened().read_layers(), before)
