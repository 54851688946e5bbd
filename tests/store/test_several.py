from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import StoreError
from mass3d.masks.hierarchy.settings import HierarchyConfig, SelectionConfig
from mass3d.masks.settings import MaskConfig
from mass3d.store.reader import Store
from mass3d.store.schema import StoreSettings
from mass3d.store.several import Stores
from mass3d.volume.preparation import PreparationConfig

Make = Callable[..., Path]


@pytest.fixture
def halves(make_store: Make, tmp_path: Path) -> tuple[Path, Path]:
    return make_store(tmp_path / "north", ("a", "b")), make_store(tmp_path / "south", ("b", "c"))


def test_one_store_is_read_as_it_is(store_path: Path) -> None:
    stores, store = Stores.open([store_path]), Store.open(store_path)
    assert stores.case_ids == store.case_ids == ("a", "b")
    assert stores.fingerprint == store.fingerprint
    assert stores.preparation == store.preparation
    assert stores.case("b").case_id == "b"


def test_the_cases_of_several_stores_keep_unique_ids(halves: tuple[Path, Path]) -> None:
    stores = Stores.open(halves)
    assert sorted(stores.case_ids) == ["north/a", "north/b", "south/b", "south/c"]
    for case_id in stores.case_ids:
        case = pickle.loads(pickle.dumps(stores.case(case_id)))
        store, _, own = case_id.partition("/")
        assert (case.case_id, case.record.case_id) == (case_id, own)
        assert case.folder.parent.parent.name == store
        assert case.read_image().shape == case.shape


def test_order_and_place_of_the_stores_change_neither_order_nor_fingerprint(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    north, south = halves
    moved = [shutil.copytree(south, tmp_path / "x/a"), shutil.copytree(north, tmp_path / "x/z")]
    one, other = Stores.open([north, south]), Stores.open(moved)
    assert one.case_ids == Stores.open([south, north]).case_ids
    assert one.fingerprint == other.fingerprint == Stores.open([south, north]).fingerprint
    assert one.fingerprint not in {Store.open(path).fingerprint for path in halves}
    own = [[case_id.partition("/")[2] for case_id in found.case_ids] for found in (one, other)]
    assert own[0] == own[1]


def test_folders_of_one_name_are_told_apart_by_those_around_them(
    make_store: Make, tmp_path: Path
) -> None:
    paths = [make_store(tmp_path / site / "store", (site,)) for site in ("x", "y")]
    assert sorted(Stores.open(paths).case_ids) == ["x/store/x", "y/store/y"]


def test_the_same_content_twice_is_refused(store_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store_path, tmp_path / "copy")
    for again in (store_path, copy):
        with pytest.raises(StoreError, match="the same content"):
            Stores.open([store_path, again])


def test_another_preparation_is_refused_by_the_first_setting_that_differs(
    store_path: Path, make_store: Make, settings: StoreSettings, tmp_path: Path
) -> None:
    changed = PreparationConfig(spacing_mm=2.0, percentiles=(1.0, 99.0))
    other = settings.model_copy(update={"preparation": changed})
    make_store(tmp_path / "other", settings=other)
    with pytest.raises(StoreError, match=r"prepared with percentiles = .* as in") as caught:
        Stores.open([store_path, tmp_path / "other"])
    assert "spacing" not in str(caught.value)


def test_masks_of_other_settings_may_be_mixed(
    store_path: Path, make_store: Make, settings: StoreSettings, tmp_path: Path
) -> None:
    few = MaskConfig(hierarchy=HierarchyConfig(selection=SelectionConfig(max_masks=3)))
    make_store(tmp_path / "other", settings=settings.model_copy(update={"masks": few}))
    assert len(Stores.open([store_path, tmp_path / "other"]).case_ids) == 4


def test_one_broken_store_is_enough_to_refuse(store_path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store\.json"):
        Stores.open([store_path, tmp_path / "none"])


def test_an_id_of_no_store_is_an_error(halves: tuple[Path, Path]) -> None:
    for wrong in ("a", "west/a"):
        with pytest.raises(StoreError, match="begins with"):
            Stores.open(halves).case(wrong)
    with pytest.raises(StoreError, match="no case 'z'"):
        Stores.open(halves).case("north/z")


def test_all_is_read_as_from_the_single_store(halves: tuple[Path, Path]) -> None:
    stores = Stores.open(halves)
    np.testing.assert_array_equal(
        stores.case("south/c").read_image(), Store.open(halves[1]).case("c").read_image()
    )
