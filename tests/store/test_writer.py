from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import ConfigError, DataError, OutputError, StoreError
from mass3d.files import read_json, write_json
from mass3d.masks.layers import MaskSet
from mass3d.store.reader import Store
from mass3d.store.schema import Source, StoreSettings
from mass3d.store.writer import (
    as_stored,
    begin,
    collect_index,
    discard_case,
    open_for_writing,
    replace_masks,
    write_case,
    write_index,
)
from mass3d.volume.preparation import PreparationConfig, Prepared

SOURCE = Source(name="a.nii", sha256="1" * 64)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_case_comes_back_as_it_was_written(
    store_path: Path, prepared: Prepared, masks: MaskSet
) -> None:
    store = Store.open(store_path)
    case = store.case("a")
    assert store.case_ids == ("a", "b")
    assert store.spacing_mm == 1.5
    np.testing.assert_array_equal(case.read_image(), as_stored(prepared.image))
    np.testing.assert_array_equal(case.read_layers(), masks.ranks)
    for name, column in masks.table.columns().items():
        np.testing.assert_array_equal(getattr(case.table, name), column)
        assert getattr(case.table, name).dtype == column.dtype
    assert (case.grid, case.source) == (prepared.grid, prepared.source)
    assert (case.shape, case.modality) == (prepared.grid.shape, "mr")
    assert case.outside == prepared.intensity.outside
    assert case.record.repairs == prepared.repairs


def test_the_same_cases_are_the_same_bytes(
    make_store: Callable[[Path], Path], tmp_path: Path
) -> None:
    assert contents(make_store(tmp_path / "x")) == contents(make_store(tmp_path / "y"))


def test_a_store_holds_no_path_of_the_machine_it_was_made_on(
    store_path: Path, tmp_path: Path
) -> None:
    for name, content in contents(store_path).items():
        assert str(tmp_path).encode() not in content, name


def test_a_case_written_again_replaces_the_old_one(
    store_path: Path, settings: StoreSettings, prepared: Prepared, masks: MaskSet
) -> None:
    before = Store.open(store_path).fingerprint
    darker = replace(prepared, image=prepared.image - 1)
    with open_for_writing(store_path):
        begin(store_path, settings)
        write_case(store_path, "a", darker, masks, source=SOURCE, settings=settings)
        write_index(store_path, collect_index(store_path, settings))
    store = Store.open(store_path)
    assert store.fingerprint != before
    np.testing.assert_array_equal(store.case("a").read_image(), as_stored(darker.image))
    assert sorted(p.name for p in (store_path / "cases").iterdir()) == ["a", "b"]


def test_new_masks_leave_the_image_as_it_was(
    store_path: Path, settings: StoreSettings, masks: MaskSet
) -> None:
    image = (store_path / "cases/a/image.b2nd").read_bytes()
    record = Store.open(store_path).case("a").record
    with open_for_writing(store_path):
        replace_masks(store_path, record, masks.keep([0]), settings)
        write_index(store_path, collect_index(store_path, settings))
    case = Store.open(store_path).case("a")
    assert len(case.table) == 1
    assert (store_path / "cases/a/image.b2nd").read_bytes() == image


def test_a_broken_case_is_left_out_unless_it_is_known_to_be_whole(
    store_path: Path, settings: StoreSettings
) -> None:
    (store_path / "cases/a/image.b2nd").write_bytes(b"broken")
    assert list(collect_index(store_path, settings).cases) == ["b"]
    assert list(collect_index(store_path, settings, whole=["a"]).cases) == ["a", "b"]


def test_a_discarded_case_is_gone_and_an_unknown_one_harmless(
    store_path: Path, settings: StoreSettings
) -> None:
    with open_for_writing(store_path):
        for case_id in ("a", "c", "../cases", "", "x" * 300):
            discard_case(store_path, case_id)
        write_index(store_path, collect_index(store_path, settings))
    assert Store.open(store_path).case_ids == ("b",)
    assert sorted(p.name for p in (store_path / "cases").iterdir()) == ["b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_an_image_that_cannot_be_stored_is_refused(
    tmp_path: Path, settings: StoreSettings, prepared: Prepared, masks: MaskSet, value: float
) -> None:
    prepared.image[0, 0, 0] = value
    with open_for_writing(tmp_path), pytest.raises(DataError, match="finite"):
        write_case(tmp_path, "a", prepared, masks, source=SOURCE, settings=settings)


@pytest.mark.parametrize("case_id", ["a/b", "..", ".hidden", ""])
def test_an_id_that_is_no_folder_name_is_refused(
    tmp_path: Path, settings: StoreSettings, prepared: Prepared, masks: MaskSet, case_id: str
) -> None:
    with open_for_writing(tmp_path), pytest.raises(DataError, match="folder"):
        write_case(tmp_path, case_id, prepared, masks, source=SOURCE, settings=settings)


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path,
    settings: StoreSettings,
    prepared: Prepared,
    masks: MaskSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mass3d.store.writer.table_bytes", full_disk)
    with open_for_writing(tmp_path), pytest.raises(OutputError, match=r"no space .* Make space"):
        write_case(tmp_path, "a", prepared, masks, source=SOURCE, settings=settings)
    assert list((tmp_path / "cases").iterdir()) == []


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.txt"), open_for_writing(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_text("")
    with pytest.raises(ConfigError, match="a file"), open_for_writing(tmp_path / "scan.nii"):
        pass


def test_other_settings_in_the_same_folder_are_named(
    store_path: Path, settings: StoreSettings
) -> None:
    other = settings.model_copy(update={"preparation": PreparationConfig(spacing_mm=2.0)})
    with open_for_writing(store_path), pytest.raises(ConfigError, match=r"spacing_mm = 1\.5"):
        begin(store_path, other)
    assert Store.open(store_path).spacing_mm == 1.5  # and the store is still whole


def test_a_store_of_another_schema_is_refused_in_a_sentence(
    store_path: Path, settings: StoreSettings
) -> None:
    write_json(
        store_path / "store.json", {**read_json(store_path / "store.json"), "schema_version": 7}
    )
    with pytest.raises(StoreError, match="store schema 7"):
        Store.open(store_path)
    with open_for_writing(store_path), pytest.raises(StoreError, match="store schema 7"):
        begin(store_path, settings)


def test_only_one_process_writes_at_a_time(store_path: Path) -> None:
    with (
        open_for_writing(store_path),
        pytest.raises(StoreError, match="another mass3d"),
        open_for_writing(store_path),
    ):
        pass
    with open_for_writing(store_path):
        pass


def test_leftovers_of_a_killed_process_are_cleared(store_path: Path) -> None:
    before = contents(store_path)
    (store_path / "cases/.partial-99-c").mkdir()
    (store_path / "cases/.partial-99-c/image.b2nd").write_text("half")
    (store_path / ".partial-99-store.json").write_text("half")
    with open_for_writing(store_path):
        pass
    assert contents(store_path) == before


def test_what_stopped_workers_leave_is_cleared_when_the_writing_ends_with_an_error(
    store_path: Path,
) -> None:
    half = store_path / "cases/.partial-99-c"

    def write_and_fail() -> None:
        with open_for_writing(store_path):
            half.mkdir()  # by a worker that the error stopped
            raise OutputError(store_path, found="full", expected="space", fix="Make space.")

    with pytest.raises(OutputError, match="full"):
        write_and_fail()
    assert not half.exists()
