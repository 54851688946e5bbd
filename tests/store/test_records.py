from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mass3d.errors import StoreError
from mass3d.files import read_json, write_json
from mass3d.store.reader import Store

Reseal = Callable[..., None]


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


def test_broken_geometry_is_an_error(store_path: Path, reseal: Reseal) -> None:
    reseal(store_path, grid={"shape": [1]})
    with pytest.raises(StoreError, match="geometry"):
        Store.open(store_path).case("a")
