from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from mass3d.errors import StoreError
from mass3d.files import read_json, write_json
from mass3d.masks.layers import MaskSet
from mass3d.store.reader import Store, _widened
from mass3d.store.schema import IndexRecord, StoreSettings
from mass3d.store.writer import _npz, mark_unfinished

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


def test_every_finite_half_becomes_the_same_float() -> None:
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    wide, finite = _widened(half), np.isfinite(half)
    np.testing.assert_array_equal(wide[finite], half[finite].astype(np.float32))
    np.testing.assert_array_equal(np.signbit(wide[finite]), np.signbit(half[finite]))
    assert (np.abs(wide[~finite]) > np.finfo(np.float16).max).all()


@pytest.mark.parametrize("codec", [blosc2.Codec.ZSTD, blosc2.Codec.BLOSCLZ])
def test_files_packed_otherwise_are_read_as_well(
    store_path: Path, reseal: Reseal, codec: blosc2.Codec
) -> None:
    path = store_path / "cases/a/image.b2nd"
    image = Store.open(store_path).case("a").read_image()
    path.unlink()
    cparams = blosc2.CParams(codec=codec, clevel=5, filters=[blosc2.Filter.BITSHUFFLE])
    blosc2.asarray(image.astype(np.float16), urlpath=str(path), cparams=cparams)
    reseal(store_path)
    np.testing.assert_array_equal(Store.open(store_path).case("a").read_image(), image)


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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_broken_index_is_refused(store_path: Path, content: bytes) -> None:
    (store_path / "store.json").write_bytes(content)
    with pytest.raises(StoreError):
        Store.open(store_path)


@pytest.mark.parametrize("key", ["schema_version", "settings", "cases", "finished", "fingerprint"])
def test_an_index_without_a_key_is_refused(store_path: Path, key: str) -> None:
    index = read_json(store_path / "store.json")
    del index[key]
    write_json(store_path / "store.json", index)
    with pytest.raises(StoreError):
        Store.open(store_path)


def test_a_changed_index_does_not_fit_its_fingerprint(store_path: Path) -> None:
    index = read_json(store_path / "store.json")
    index["settings"]["preparation"]["spacing_mm"] = 3.0
    write_json(store_path / "store.json", index)
    with pytest.raises(StoreError, match="fingerprint"):
        Store.open(store_path)


def test_an_index_cannot_lead_out_of_the_store(store_path: Path) -> None:
    index = IndexRecord.model_validate(read_json(store_path / "store.json"))
    cases = {"../../a": index.cases["a"]}
    write_json(
        store_path / "store.json", IndexRecord.make(index.settings, cases, finished=True).plain()
    )
    with pytest.raises(StoreError, match="plain folder names"):
        Store.open(store_path)


@pytest.mark.parametrize("name", ["image.b2nd", "layers.b2nd", "masks.npz"])
def test_a_file_cut_short_or_missing_is_noticed_when_the_case_is_opened(
    store_path: Path, name: str
) -> None:
    path = store_path / "cases/a" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="bytes"):
        Store.open(store_path).case("a")
    path.unlink()
    with pytest.raises(StoreError, match="no file"):
        Store.open(store_path).case("a")


def test_an_exchanged_record_is_noticed_when_the_case_is_opened(store_path: Path) -> None:
    record = read_json(store_path / "cases/a/case.json")
    write_json(store_path / "cases/a/case.json", record | {"modality": "pet"})
    with pytest.raises(StoreError, match="changed"):
        Store.open(store_path).case("a")


@pytest.mark.parametrize("name", ["image.b2nd", "layers.b2nd"])
@pytest.mark.parametrize("damage", ["noise", "zeros"])
def test_a_destroyed_array_is_an_error_and_not_a_crash(
    store_path: Path, name: str, damage: str
) -> None:
    path = store_path / "cases/a" / name
    size = path.stat().st_size
    rng = np.random.default_rng(0)
    path.write_bytes(rng.bytes(size) if damage == "noise" else bytes(size))
    case = Store.open(store_path).case("a")
    with pytest.raises(StoreError):
        case.read_image() if name == "image.b2nd" else case.read_layers()


def test_arrays_of_another_shape_are_refused(store_path: Path, reseal: Reseal) -> None:
    reseal(store_path, num_layers=9)
    with pytest.raises(StoreError, match="shape"):
        Store.open(store_path).case("a").read_layers()


@pytest.mark.parametrize(
    ("column", "value"),
    [("layer", 5), ("layer", -1), ("first", 0), ("parent", 2), ("box", 999), ("voxels", 0)],
)
def test_a_table_that_would_be_read_out_of_bounds_is_refused(
    store_path: Path, masks: MaskSet, reseal: Reseal, column: str, value: int
) -> None:
    columns = {name: array.copy() for name, array in masks.table.columns().items()}
    columns[column][1] = value
    (store_path / "cases/a/masks.npz").write_bytes(_npz(type(masks.table)(**columns)))
    reseal(store_path)
    with pytest.raises(StoreError, match=r"masks\.npz"):
        _ = Store.open(store_path).case("a").table


def test_a_table_that_hides_code_is_refused(store_path: Path, reseal: Reseal) -> None:
    with (store_path / "cases/a/masks.npz").open("wb") as stream:
        np.savez(stream, layer=np.array([object()], dtype=object))
    reseal(store_path)
    with pytest.raises(StoreError, match=r"masks\.npz"):
        _ = Store.open(store_path).case("a").table


def test_broken_geometry_is_an_error(store_path: Path, reseal: Reseal) -> None:
    reseal(store_path, grid={"shape": [1]})
    with pytest.raises(StoreError, match="geometry"):
        Store.open(store_path).case("a")
