from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mass3d.apps import masks, prepare
from mass3d.errors import StoreError
from mass3d.io.write import write_image
from mass3d.masks.engines import MaskConfig
from mass3d.masks.hierarchy import HierarchyConfig
from mass3d.record import read_json
from mass3d.store.check import check_store
from mass3d.store.reader import Store
from mass3d.volume.volume import Volume

SHAPE = (20, 24, 22)
OTHER = MaskConfig(hierarchy=HierarchyConfig(other=HierarchyConfig().other[:1]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of two small scans."""
    folder = tmp_path_factory.mktemp("prepared")
    for seed, name in enumerate(("a", "b")):
        rng = np.random.default_rng(seed)
        blobs = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2.5)
        image = np.where(blobs > 0, 300.0, 100.0) + 5 * rng.standard_normal(SHAPE)
        image[:2] = image[-2:] = 0
        volume = Volume.from_array(image, spacing_mm=(2.0, 2.0, 2.0))
        write_image(folder / f"{name}.nii.gz", image, volume.source)
    values = {"inputs": (folder,), "output": folder / "store", "workers": 1}
    assert prepare.run(prepare.PrepareConfig.model_validate(values)).ok
    return folder / "store"


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "store"))


def run(store: Path, **changes: object) -> masks.MasksReport:
    return masks.run(masks.MasksConfig.model_validate({"store": store, "workers": 1} | changes))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_masks_of_every_case_are_measured_and_left_alone(store: Path) -> None:
    before = contents(store)
    report = run(store)
    assert report.ok
    assert list(report.quality) == ["a", "b"]
    assert report.changed == ()
    assert "2 cases" in report.summary()
    assert set(read_json(store / "masks/quality.json")["cases"]) == {"a", "b"}
    assert contents(store).items() >= before.items()


def test_new_masks_replace_the_old_ones_on_the_same_image(store: Path) -> None:
    image = (store / "cases/a/image.b2nd").read_bytes()
    before = Store.open(store)
    report = run(store, masks=OTHER)
    assert report.changed == ("a", "b")
    assert report.fingerprint == Store.open(store).fingerprint != before.fingerprint
    assert Store.open(store).index.settings.masks == OTHER
    assert (store / "cases/a/image.b2nd").read_bytes() == image
    assert check_store(store) == []


def test_masks_proposed_again_with_the_first_settings_are_the_first_masks(store: Path) -> None:
    before = contents(store)
    run(store, masks=OTHER)
    run(store, masks=MaskConfig())
    assert contents(store).items() >= before.items()


def test_a_broken_case_is_told_and_the_others_go_on(store: Path) -> None:
    (store / "cases/a/image.b2nd").write_bytes(b"broken")
    report = run(store, masks=OTHER)
    assert [fault.where for fault in report.faults] == ["a"]
    assert Store.open(store).case_ids == ("b",)


def test_an_unfinished_prepare_is_not_finished_by_masks(store: Path) -> None:
    settings = Store.open(store).index.settings
    shutil.rmtree(store / "cases/b")
    prepare.begin(store, settings)
    with pytest.raises(StoreError, match="not finished"):
        run(store, masks=settings.masks)


def killed_at_flush(store: Path, number: int) -> None:
    flush, count = os.fsync, [0]

    def fsync(handle: int) -> None:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(handle)

    os.fsync = fsync  # this is a process of its own
    run(store, masks=OTHER)


def test_killed_at_any_moment_the_same_call_ends_with_the_same_bytes(
    prepared: Path, tmp_path: Path
) -> None:
    undisturbed = Path(shutil.copytree(prepared, tmp_path / "undisturbed"))
    run(undisturbed, masks=OTHER)
    for number in range(1, 17, 3):
        store = Path(shutil.copytree(prepared, tmp_path / str(number)))
        child = multiprocessing.get_context("fork").Process(
            target=killed_at_flush, args=(store, number)
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert run(store, masks=OTHER).ok
        left, right = contents(store), contents(undisturbed)
        assert {k: v for k, v in left.items() if not k.startswith("masks/")} == {
            k: v for k, v in right.items() if not k.startswith("masks/")
        }
