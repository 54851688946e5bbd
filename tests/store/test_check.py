from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest

from mass3d.masks.layers import MaskSet
from mass3d.masks.table import MaskTable
from mass3d.store.arrays import table_bytes, write_array
from mass3d.store.reader import Store
from mass3d.store.schema import StoreSettings
from mass3d.volume.preparation import Prepared
from stores import check_store

SHAPE = (13, 70, 21)  # of the cases of the fixtures


def test_a_sound_store_has_no_fault(store_path: Path) -> None:
    assert check_store(store_path) == []


def test_further_files_of_a_case_change_nothing(store_path: Path) -> None:
    before = Store.open(store_path).fingerprint
    for name in ("label.b2nd", "label.json"):  # a label, of which older versions knew
        (store_path / "cases/a" / name).write_bytes(b"{}")
    after = Store.open(store_path)
    assert after.fingerprint == before
    assert after.case("a").read_image().shape == SHAPE
    assert check_store(store_path) == []


def test_all_faults_are_told_at_once(store_path: Path) -> None:
    image = store_path / "cases/a/image.b2nd"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    (store_path / "cases/a/masks.npz").unlink()
    (store_path / "cases/b/case.json").write_text("{}")
    (store_path / "cases/c").mkdir()
    faults = [str(fault) for fault in check_store(store_path)]
    assert len(faults) == 4
    for name, fault in zip(
        ("image.b2nd", "masks.npz", "case.json", "cases/c"), faults, strict=True
    ):
        assert name in fault


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("voxels", 0, 1), "1 masks of layer 0 whose size"),
        (("box", 1, (0, 1, 0, 1, 0, 1)), "1 masks of layer 0 whose box"),
        (("parent", 1, -1), "1 masks of layer 0 whose parent"),
        (("score", 2, np.nan), "scores that are not finite"),
    ],
)
def test_masks_that_do_not_fit_their_layers_are_found(
    store_path: Path,
    masks: MaskSet,
    reseal: Callable[..., None],
    change: tuple[str, int, Any],
    told: str,
) -> None:
    columns = {name: array.copy() for name, array in masks.table.columns().items()}
    column, row, value = change
    columns[column][row] = value
    (store_path / "cases/a/masks.npz").write_bytes(table_bytes(MaskTable(**columns)))
    reseal(store_path)
    (fault,) = check_store(store_path)
    assert told in str(fault)
    assert "masks.npz" in str(fault)


def test_masks_that_cross_in_a_layer_are_found(
    store_path: Path, masks: MaskSet, reseal: Callable[..., None]
) -> None:
    columns = {name: array.copy() for name, array in masks.table.columns().items()}
    columns["first"][1], columns["last"][1] = 2, 3  # the other mask of the layer is [1, 2]
    (store_path / "cases/a/masks.npz").write_bytes(table_bytes(MaskTable(**columns)))
    reseal(store_path)
    (fault,) = check_store(store_path)
    assert "masks that cross in layer 0" in str(fault)


def test_a_mask_told_twice_is_found(
    store_path: Path, masks: MaskSet, reseal: Callable[..., None]
) -> None:
    columns = {name: array[[0, 1, 1, 2]] for name, array in masks.table.columns().items()}
    (store_path / "cases/a/masks.npz").write_bytes(table_bytes(MaskTable(**columns)))
    reseal(store_path, num_masks=4)
    (fault,) = check_store(store_path)
    assert "1 masks that are told twice" in str(fault)


def test_a_geometry_that_is_not_that_of_the_scan_is_found(
    store_path: Path, prepared: Prepared, reseal: Callable[..., None]
) -> None:
    grid = prepared.grid.plain()
    grid["index_to_world"][0][3] += 1.0  # a millimetre aside
    reseal(store_path, grid=grid)
    (fault,) = check_store(store_path)
    assert "does not cover the scan's box" in str(fault)


def test_another_preparation_or_source_is_found(
    store_path: Path, reseal: Callable[..., None]
) -> None:
    reseal(store_path, settings="0" * 64, source={"name": "other.nii", "sha256": "1" * 64})
    told = [fault.found for fault in check_store(store_path)]
    assert told == ["other settings than the store's", "another source than in the index"]


@pytest.mark.parametrize("intensity", [{"low": 39.0}, {"high": 41.0}, {"std": 26.0}])
def test_intensities_beyond_their_clipping_are_found(
    store_path: Path, reseal: Callable[..., None], intensity: dict[str, float]
) -> None:
    whole = {"low": 1.0, "high": 90.0, "mean": 40.0, "std": 13.0}
    reseal(store_path, intensity=whole)
    assert check_store(store_path) == []
    reseal(store_path, intensity=whole | intensity)
    (fault,) = check_store(store_path)
    assert "intensities from" in str(fault)


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "intensities from"), (-np.inf, "intensities from"), (None, "one intensity")],
)
def test_an_image_that_shows_nothing_is_found(
    store_path: Path, reseal: Callable[..., None], value: float | None, told: str
) -> None:
    path = store_path / "cases/a/image.b2nd"
    image = np.zeros(SHAPE, np.float16)
    if value is not None:
        image[3, 4, 5] = value
    path.unlink()
    write_array(path, image, pack=blosc2.Filter.SHUFFLE)
    reseal(store_path)
    (fault,) = check_store(store_path)
    assert told in str(fault)


def test_a_store_that_cannot_be_opened_has_that_one_fault(
    tmp_path: Path, settings: StoreSettings
) -> None:
    assert len(check_store(tmp_path)) == 1
