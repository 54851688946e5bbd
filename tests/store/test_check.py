from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mass3d.masks.layers import MaskSet
from mass3d.store.check import check_store
from mass3d.store.schema import StoreSettings
from mass3d.store.writer import _npz


def test_a_sound_store_has_no_fault(store_path: Path) -> None:
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


def test_masks_that_do_not_fit_their_layers_are_found(
    store_path: Path, masks: MaskSet, reseal: Callable[..., None]
) -> None:
    columns = {name: array.copy() for name, array in masks.table.columns().items()}
    columns["voxels"][0] += 1
    (store_path / "cases/a/masks.npz").write_bytes(_npz(type(masks.table)(**columns)))
    reseal(store_path)
    (fault,) = check_store(store_path)
    assert "1 masks of layer 0" in str(fault)


def test_a_store_that_cannot_be_opened_has_that_one_fault(
    tmp_path: Path, settings: StoreSettings
) -> None:
    assert len(check_store(tmp_path)) == 1
