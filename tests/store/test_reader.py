from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import StoreError
from mass3d.files import write_json
from mass3d.masks.layers import MaskSet
from mass3d.store.reader import Store
from mass3d.store.schema import IndexRecord, StoreSettings
from mass3d.store.writer import mark_unfinished

Reseal = Callable[..., None]


@pytest.mark.parametrize(
    "box",
    [np.s_[0:13, 0:70, 0:21], np.s_[2:5, 60:70, 0:1], np.s_[12:13, 63:66, 20:21]],
    ids=["everything", "corner", "across chunks"],
)
def test_a_crop_is_the_same_part_of_the_whole(
    store_path: Path, box: tuple[slice, slice, slice]
) -> None:
    case = Store.open(store_path).case("a")
    for _ in range(2):
        np.testing.assert_array_equal(case.read_image(box), case.read_image()[box])
        np.testing.assert_array_equal(
            case.read_layers(box), case.read_layers()[(slice(None), *box)]
        )
    assert case.read_image(box).dtype == np.float32
    assert case.read_layers(box).dtype == np.uint16


def test_a_box_outside_the_volume_is_a_fault_of_the_caller(store_path: Path) -> None:
    with pytest.raises(AssertionError, match="outside"):
        Store.open(store_path).case("a").read_image(np.s_[0:14, 0:1, 0:1])


def test_masks_come_back_one_by_one(store_path: Path, masks: MaskSet) -> None:
    read = Store.open(store_path).case("b").masks()
    for row in range(len(masks)):
        np.testing.assert_array_equal(read.mask(row), masks.mask(row))


@pytest.mark.parametrize(
    "box",
    [None, np.s_[0:13, 0:70, 0:21], np.s_[2:9, 33:70, 5:12], np.s_[0:1, 0:1, 0:1]],
    ids=["none", "everything", "part", "beside all masks"],
)
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1], [1, 1], []])
def test_chosen_masks_of_a_box_are_the_same_part_of_the_whole_masks(
    store_path: Path, masks: MaskSet, box: tuple[slice, slice, slice] | None, rows: list[int]
) -> None:
    read = Store.open(store_path).case("b").read_masks(rows, box)
    assert read.dtype == bool
    assert len(read) == len(rows)
    for found, row in zip(read, rows, strict=True):
        np.testing.assert_array_equal(found, masks.mask(row)[box or np.s_[:]])


def test_a_pickled_case_reads_the_same(store_path: Path) -> None:
    case = Store.open(store_path).case("a")
    image = case.read_image()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(case)).read_image(), image)


def test_a_folder_without_an_index_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store\.json"):
        Store.open(tmp_path)


def test_an_unfinished_store_is_refused(store_path: Path, settings: StoreSettings) -> None:
    mark_unfinished(store_path, settings)
    with pytest.raises(StoreError, match="goes on where it was stopped"):
        Store.open(store_path)


def test_a_store_without_cases_is_refused(tmp_path: Path, settings: StoreSettings) -> None:
    write_json(tmp_path / "store.json", IndexRecord.make(settings, {}, finished=True).plain())
    with pytest.raises(StoreError, match="no case"):
        Store.open(tmp_path)


def test_an_unknown_case_is_an_error(store_path: Path) -> None:
    with pytest.raises(StoreError, match="no case 'z'"):
        Store.open(store_path).case("z")


def test_opening_a_store_and_reading_a_case_loads_no_engine(store_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from mass3d.store.reader import Store
case = Store.open(Path({str(store_path)!r})).case("a")
case.masks(), case.read_image()
print(sorted({{"higra", "skimage", "torch"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
