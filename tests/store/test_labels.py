from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.files import read_json, write_json
from mass3d.masks.layers import MaskSet
from mass3d.store.check import check_store
from mass3d.store.labels import discard_label, write_label_part
from mass3d.store.reader import Store
from mass3d.store.records import read_record
from mass3d.store.schema import Source, StoreSettings
from mass3d.store.writer import replace_masks

SOURCE = Source(name="a_label.nii.gz", sha256="1" * 64)
NAMES = {"liver": 1, "spleen": 300}


@pytest.fixture
def label(masks: MaskSet) -> NDArray[np.uint16]:
    values = np.zeros(masks.shape, np.uint16)
    values[2:6, 10:50, 3:9], values[8:, 60:, 12:] = 1, 300
    return values


@pytest.fixture
def labelled(store_path: Path, label: NDArray[np.uint16]) -> Path:
    write_label_part(store_path, "a", label, NAMES, source=SOURCE, repairs=("rounded",))
    return store_path


def test_a_label_comes_back_whole_and_by_crops(labelled: Path, label: NDArray[np.uint16]) -> None:
    case = Store.open(labelled).case("a")
    np.testing.assert_array_equal(case.read_label(), label)
    box = np.s_[1:5, 40:70, 2:14]
    np.testing.assert_array_equal(case.read_label(box), label[box])
    assert case.label is not None
    assert (case.label.structures, case.label.source) == (NAMES, SOURCE)
    assert case.label.repairs == ("rounded",)
    assert check_store(labelled) == []


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_a_label_takes_as_few_bytes_as_its_values_need(
    store_path: Path, masks: MaskSet, value: int, dtype: type
) -> None:
    values = np.full(masks.shape, value, np.int32)
    write_label_part(store_path, "a", values, {"x": value}, source=SOURCE)
    assert Store.open(store_path).case("a").read_label().dtype == dtype


def test_a_label_changes_nothing_for_what_pretrains(
    store_path: Path, label: NDArray[np.uint16]
) -> None:
    before = Store.open(store_path)
    image, ranks = before.case("a").read_image(), before.case("a").read_layers()
    write_label_part(store_path, "a", label, NAMES, source=SOURCE)
    (store_path / "cases/a/label.b2nd").write_bytes(b"broken")
    (store_path / "cases/a/label.json").write_bytes(b"broken too")
    after = Store.open(store_path)
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.case("a").read_image(), image)
    np.testing.assert_array_equal(after.case("a").read_layers(), ranks)


def test_a_case_without_a_label_says_so(labelled: Path) -> None:
    assert Store.open(labelled).case("b").label is None
    with pytest.raises(StoreError, match="no label"):
        Store.open(labelled).case("b").read_label()
    discard_label(labelled, "a")
    assert Store.open(labelled).case("a").label is None
    assert check_store(labelled) == []


def test_new_masks_leave_the_label_as_it_is(
    labelled: Path, masks: MaskSet, settings: StoreSettings, label: NDArray[np.uint16]
) -> None:
    record = read_record(labelled / "cases/a")
    replace_masks(labelled, record, masks.keep([0]), settings)
    assert (labelled / "cases/a/label.json").exists()
    with pytest.raises(StoreError, match="changed"):  # the index does not know the new masks yet
        Store.open(labelled).case("a")


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "label.b2nd").unlink(), "broken or was changed"),
        (lambda folder: (folder / "label.json").unlink(), "a label without its record"),
        (lambda folder: (folder / "label.json").write_bytes(b"{"), "no readable JSON"),
        (lambda folder: _flipped(folder / "label.b2nd"), "broken or was changed"),
        (
            lambda folder: write_json(
                folder / "label.json",
                read_json(folder / "label.json") | {"structures": {"liver": 1}},
            ),
            r"values without a name \(300\)",
        ),
    ],
)
def test_check_finds_what_is_wrong_with_a_label(
    labelled: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(labelled / "cases/a")
    (fault,) = check_store(labelled)
    with pytest.raises(StoreError, match=told):
        raise fault
