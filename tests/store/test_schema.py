from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mass3d.errors import StoreError
from mass3d.files import read_json, write_json
from mass3d.store.reader import Store
from mass3d.store.schema import IndexRecord
from stores import check_store

Reseal = Callable[..., None]


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


def test_a_store_of_schema_2_is_read_and_checked(store_path: Path, reseal: Reseal) -> None:
    repairs = Store.open(store_path).case("a").record.repairs
    fingerprint = Store.open(store_path).index.settings.fingerprint
    for case_id in ("a", "b"):
        path = store_path / "cases" / case_id / "case.json"
        record = read_json(path)
        record["mended"] = record.pop("repairs")
        write_json(path, record | {"schema_version": 2})
        reseal(store_path, case_id)
    path = store_path / "store.json"
    write_json(path, read_json(path) | {"schema_version": 2})
    store = Store.open(store_path)
    assert store.index.schema_version == 2
    assert store.case("a").record.repairs == repairs == ("2 voxels were not finite.",)
    assert store.case("a").record.settings == fingerprint  # so that `prepare` goes on with it
    assert check_store(store_path) == []
