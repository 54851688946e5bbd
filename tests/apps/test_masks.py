from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mass3d.apps import masks, prepare
from mass3d.errors import ConfigError, StoreError
from mass3d.files import read_json
from mass3d.io.write import write_image
from mass3d.masks.hierarchy import engine as hierarchy
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.settings import MaskConfig
from mass3d.store.reader import Store
from mass3d.store.schema import IndexRecord, read_index
from mass3d.store.writer import write_index
from mass3d.volume.volume import Volume
from stores import check_store

SHAPE = (20, 24, 22)
OTHER = MaskConfig(hierarchy=HierarchyConfig(mr=HierarchyConfig().mr[:1]))


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


@pytest.fixture(scope="module")
def external(prepared: Path) -> Path:
    """Folder of a label map of each scan, on the grid of its file."""
    folder = prepared.parent / "labels"
    for seed, name in enumerate(("a", "b")):
        label = np.zeros(SHAPE, np.uint8)
        label[4:10, 4:10, 4:10], label[11:17, 5:9, 5 + seed : 12] = 1, 2
        volume = Volume.from_array(label, spacing_mm=(2.0, 2.0, 2.0))
        write_image(folder / f"{name}.nii.gz", label, volume.source)
    return folder


def from_outside(*folders: Path, engines: tuple[str, ...] = ("external",)) -> dict[str, object]:
    return {"engines": engines, "external": {"folders": folders}, "hierarchy": OTHER.hierarchy}


def engines_of(store: Path, case_id: str = "a") -> list[str]:
    """Engines of a case in the order of their layers."""
    table = Store.open(store).case(case_id).table
    return list(dict.fromkeys(table.engine[np.argsort(table.layer, kind="stable")].tolist()))


def never(*_: object, **__: object) -> None:
    raise AssertionError("an engine ran whose masks should have been kept")


def test_the_masks_of_every_case_are_measured_and_left_alone(store: Path) -> None:
    before = contents(store)
    report = run(store)
    assert report.ok
    assert list(report.cases) == ["a", "b"]
    assert report.changed == ()
    assert "2 cases" in report.summary()
    assert set(read_json(store / "masks/quality.json")["cases"]) == {"a", "b"}
    assert contents(store).items() >= before.items()


def test_figures_are_told_by_engine_and_by_layer_and_agreement_between_engines(
    store: Path, external: Path
) -> None:
    report = run(store, masks=from_outside(external), add=True)
    case = report.cases["a"]
    masks = Store.open(store).case("a").masks()
    layers = len(masks.ranks) - 1
    assert [engine for engine, _ in case.layers] == ["hierarchy"] * layers + ["external"]
    assert sum(count for _, count in case.layers) == case.quality.num_masks == len(masks)
    assert case.engines["external"].num_masks == 2
    assert case.engines["hierarchy"].num_masks == len(masks) - 2
    assert case.engines["external"].voxels == (168, 192, 216)
    assert 0 < case.agreement["external"]["hierarchy"] < 1
    assert 0 < case.agreement["hierarchy"]["external"] < 1
    written = read_json(store / "masks/quality.json")["cases"]["a"]
    assert written["num_masks"] == len(masks)
    assert written["engines"]["external"]["num_masks"] == 2
    assert written["agreement"] == {key: dict(row) for key, row in case.agreement.items()}


def test_masks_are_compared_with_labels_when_asked(store: Path, external: Path) -> None:
    """External masks that are the labels score 1; a label of another case is passed over."""
    run(store, masks=from_outside(external), add=True)
    labels = Path(shutil.copytree(external, store.parent / "some"))
    (labels / "b.nii.gz").unlink()
    (labels / "a.nii.gz").rename(labels / "a.Nii.GZ")
    (labels / "dataset.json").write_text('{"labels": {"background": 0, "cube": 1}}')
    report = run(store, labels=labels)
    dice = report.cases["a"].best_dice
    assert dice is not None
    assert list(dice) == ["cube", "2"]
    assert dice["cube"].keys() == {"hierarchy", "external", "together"}
    assert dice["cube"]["external"] == dice["cube"]["together"] == 1
    assert 0 < dice["cube"]["hierarchy"] < 1
    assert report.cases["b"].best_dice is None
    told = "Against labels of 1 case: mean best Dice 1.000 over 2 structures."
    assert told in report.summary()
    assert read_json(store / "masks/quality.json")["best_dice"]["cube"]["external"] == 1
    assert "cube" in (store / "masks/masks.html").read_text()
    with pytest.raises(ConfigError, match="which is not a folder"):
        run(store, labels=labels / "none")


def test_a_structure_that_the_grid_of_the_store_loses_scores_nothing(
    store: Path, tmp_path: Path
) -> None:
    fine = np.zeros(tuple(2 * n for n in SHAPE), np.uint8)
    fine[6:20, 6:20, 6:20], fine[31, 31, 31] = 1, 5  # beside all centres of the store
    volume = Volume.from_array(fine, spacing_mm=(1.0, 1.0, 1.0))
    write_image(tmp_path / "labels/a.nii.gz", fine, volume.source)
    dice = run(store, labels=tmp_path / "labels").cases["a"].best_dice
    assert dice is not None
    assert dice["5"] == {"hierarchy": 0.0, "together": 0.0}
    assert dice["1"]["together"] > 0


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


def test_an_engine_that_is_added_leaves_the_masks_of_the_others(
    store: Path, external: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Store.open(store).case("a").masks()
    monkeypatch.setattr(hierarchy, "propose", never)
    report = run(store, masks=from_outside(external), add=True)
    assert report.ok
    assert report.changed == ("a", "b")
    assert engines_of(store) == ["hierarchy", "external"]
    after = Store.open(store).case("a").masks()
    np.testing.assert_array_equal(after.ranks[:-1], before.ranks)
    assert sorted(after.table.voxels[after.table.layer == len(before.ranks)]) == [168, 216]
    settings = Store.open(store).index.settings.masks
    assert settings.engines == ("hierarchy", "external")
    assert settings.hierarchy == HierarchyConfig()  # not those that came with the other engine
    assert check_store(store) == []


def test_engines_that_are_named_replace_all_others_and_coming_back_gives_the_same_bytes(
    store: Path, external: Path
) -> None:
    first = contents(store)
    run(store, masks=from_outside(external), add=True)
    run(store, masks=MaskConfig())
    assert contents(store).items() >= first.items()
    run(store, masks=from_outside(external))
    alone = contents(store)
    run(store, masks=from_outside(external, engines=("hierarchy", "external")))
    assert engines_of(store) == ["hierarchy", "external"]
    run(store, masks=from_outside(external, engines=("external", "hierarchy")))
    assert engines_of(store) == ["external", "hierarchy"]
    run(store, masks=from_outside(external))
    assert contents(store) == alone


def test_only_what_changed_is_proposed_again(
    store: Path, external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = from_outside(external, engines=("hierarchy", "external"))
    assert run(store, masks=both).changed == ("a", "b")
    assert run(store, masks=both).changed == ()
    moved = Path(shutil.copytree(external, tmp_path / "moved"))
    assert run(store, masks=both | {"external": {"folders": (moved,)}}).changed == ()
    shutil.copyfile(external / "b.nii.gz", moved / "a.nii.gz")
    monkeypatch.setattr(hierarchy, "propose", never)
    assert run(store, masks=both | {"external": {"folders": (moved,)}}).changed == ("a",)
    shutil.rmtree(moved)  # an engine that is not named does not look for its files again
    monkeypatch.undo()
    report = run(store, masks=MaskConfig(), add=True)
    assert (report.ok, report.changed) == (True, ("a", "b"))
    assert engines_of(store) == ["hierarchy", "external"]


def test_a_case_without_external_masks_is_a_fault_or_a_note(
    store: Path, external: Path, tmp_path: Path
) -> None:
    partly = Path(shutil.copytree(external, tmp_path / "partly"))
    (partly / "b.nii.gz").unlink()
    report = run(store, masks=from_outside(partly), add=True)
    assert report.ok
    assert report.notes == {"b": ("no external masks of this case",)}
    assert "Masks to look at in 1 case (b: no external masks of this case)" in report.summary()
    assert engines_of(store, "b") == ["hierarchy"]
    assert run(store).notes == report.notes  # also when they are only looked at
    report = run(store, masks=from_outside(partly))
    assert [fault.where for fault in report.faults] == ["b"]
    assert f"expected b.nii.gz or a folder b with masks in {partly}" in report.faults[0].message
    assert Store.open(store).case_ids == ("a",)
    shutil.copyfile(external / "b.nii.gz", partly / "b.nii.gz")  # what the fault asked for
    report = run(store, masks=from_outside(partly))
    assert (report.ok, report.changed) == (True, ("b",))
    assert Store.open(store).case_ids == ("a", "b")


def test_a_store_of_which_no_case_has_new_masks_stays_what_it_was(
    store: Path, external: Path, tmp_path: Path
) -> None:
    """Found: its index was written without a case, and no call brought one back."""
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    (tmp_path / "none").mkdir()
    with pytest.raises(StoreError, match="new masks for none of 2 cases; the first, a: "):
        run(store, masks=from_outside(tmp_path / "none"))
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    assert run(store, masks=from_outside(external)).changed == ("a", "b")


def test_a_file_that_is_no_label_map_is_a_fault_that_names_it(
    store: Path, external: Path, tmp_path: Path
) -> None:
    odd = Path(shutil.copytree(external, tmp_path / "odd"))
    half = np.full(SHAPE, 0.5, np.float32)
    write_image(odd / "a.nii.gz", half, Volume.from_array(half).source)
    report = run(store, masks=from_outside(odd), add=True)
    assert [fault.where for fault in report.faults] == ["a"]
    assert "a.nii.gz: found values that are not whole numbers" in report.faults[0].message


def test_what_an_engine_lacks_is_told_before_the_store_is_touched(store: Path) -> None:
    before = contents(store)
    with pytest.raises(ConfigError, match="Name the folder of masks"):
        run(store, masks={"engines": ("external",)})
    with pytest.raises(ConfigError, match="checkpoint"):
        run(store, masks={"engines": ("sam2",)})
    with pytest.raises(ConfigError, match=r"Name the engine external"):
        run(store, masks={"external": {"folders": ("masks",)}})
    with pytest.raises(ConfigError, match=r"Name the engine sam2"):
        run(store, masks={"sam2": {"checkpoint": "weights"}})
    with pytest.raises(ConfigError, match="no engine to add"):
        run(store, add=True)
    assert contents(store) == before


def test_an_interrupted_call_must_be_finished_before_another_is_made(
    store: Path, external: Path
) -> None:
    old = read_index(store)
    settings = old.settings.model_copy(update={"masks": OTHER})
    write_index(store, IndexRecord.make(settings, old.cases, finished=False))
    with pytest.raises(StoreError, match="Run the same mass3d masks again"):
        run(store, masks=from_outside(external), add=True)
    assert run(store, masks=OTHER).ok


def killed_at_flush(store: Path, number: int, masks: object, add: bool) -> None:
    flush, count = os.fsync, [0]

    def fsync(fd: Any) -> None:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(fd)

    os.fsync = fsync  # this is a process of its own
    run(store, masks=masks, add=add)


@pytest.mark.parametrize("two_engines", [False, True])
def test_killed_at_any_moment_the_same_call_ends_with_the_same_bytes(
    prepared: Path, external: Path, tmp_path: Path, two_engines: bool
) -> None:
    masks = from_outside(external) if two_engines else OTHER
    undisturbed = Path(shutil.copytree(prepared, tmp_path / "undisturbed"))
    run(undisturbed, masks=masks, add=two_engines)
    for number in range(1, 17, 3):
        store = Path(shutil.copytree(prepared, tmp_path / str(number)))
        child = multiprocessing.get_context("fork").Process(
            target=killed_at_flush, args=(store, number, masks, two_engines)
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert run(store, masks=masks, add=two_engines).ok
        left, right = contents(store), contents(undisturbed)
        assert {k: v for k, v in left.items() if not k.startswith("masks/")} == {
            k: v for k, v in right.items() if not k.startswith("masks/")
        }
