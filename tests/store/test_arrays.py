from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from mass3d.errors import StoreError
from mass3d.masks.layers import MaskSet
from mass3d.store.arrays import table_bytes, widened
from mass3d.store.reader import Store

Reseal = Callable[..., None]


def test_every_finite_half_becomes_the_same_float() -> None:
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    wide, finite = widened(half), np.isfinite(half)
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
    (store_path / "cases/a/masks.npz").write_bytes(table_bytes(type(masks.table)(**columns)))
    reseal(store_path)
    with pytest.raises(StoreError, match=r"masks\.npz"):
        _ = Store.open(store_path).case("a").table


def test_a_table_that_hides_code_is_refused(store_path: Path, reseal: Reseal) -> None:
    with (store_path / "cases/a/masks.npz").open("wb") as stream:
        np.savez(stream, layer=np.array([object()], dtype=object))
    reseal(store_path)
    with pytest.raises(StoreError, match=r"masks\.npz"):
        _ = Store.open(store_path).case("a").table
