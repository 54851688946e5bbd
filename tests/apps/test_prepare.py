from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy import ndimage

import dicoms
from mass3d.apps.prepare import PrepareConfig, PrepareReport, run
from mass3d.errors import ConfigError, DataError, StoreError
from mass3d.files import read_json
from mass3d.io.left_out import LeftOut
from mass3d.io.write import write_image
from mass3d.store.reader import Store
from mass3d.store.schema import IMAGE
from mass3d.volume.volume import Volume
from stores import check_store

SHAPE = (20, 24, 22)


def write_scan(path: Path, *, seed: int, spacing_mm: float = 2.0) -> Path:
    """A few bright blobs in a dark box: small, quick, and not without masks."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2.5)
    image = np.where(blobs > 0, 300.0, 100.0) + 5 * rng.standard_normal(SHAPE)
    image[:2] = image[-2:] = 0
    volume = Volume.from_array(image, spacing_mm=(spacing_mm, spacing_mm, spacing_mm))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image, volume.source)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number in range(3):
        write_scan(folder / f"scan{number}.nii.gz", seed=number)
    return folder


def prepare(inputs: Path | Sequence[Path], output: Path, **changes: object) -> PrepareReport:
    paths = (inputs,) if isinstance(inputs, Path) else tuple(inputs)
    values = {"inputs": paths, "output": output, "workers": 1}
    return run(PrepareConfig.model_validate(values | changes))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the store of `scans`."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    assert prepare(scans, store).ok
    return contents(store)


def test_every_scan_becomes_a_case_with_masks(scans: Path, tmp_path: Path) -> None:
    report = prepare(scans, tmp_path / "store", spacing_mm=2.5)
    store = Store.open(tmp_path / "store")
    assert report.ok
    assert report.prepared == store.case_ids == ("scan0", "scan1", "scan2")
    assert report.fingerprint == store.fingerprint
    assert store.spacing_mm == 2.5
    assert "Prepared 3 scans at 2.5 mm" in report.summary()
    assert check_store(tmp_path / "store") == []
    for case_id in store.case_ids:
        case = store.case(case_id)
        assert len(case.table) == report.num_masks[case_id] > 0
        assert case.shape == case.read_image().shape == (16, 19, 18)
        assert case.source.shape == SHAPE[::-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_store_does_not_depend_on_its_place_or_the_number_of_workers(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes], workers: int
) -> None:
    assert prepare(scans, tmp_path / "elsewhere" / "store", workers=workers).ok
    assert contents(tmp_path / "elsewhere" / "store") == undisturbed


def test_a_second_call_does_nothing_again(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    prepare(scans, tmp_path)
    before = (tmp_path / "cases/scan0").stat().st_ino
    report = prepare(scans, tmp_path)
    assert (report.prepared, report.kept) == ((), ("scan0", "scan1", "scan2"))
    assert "3 of them earlier" in report.summary()
    assert (tmp_path / "cases/scan0").stat().st_ino == before
    assert contents(tmp_path) == undisturbed


def test_a_scan_that_fails_is_named_and_the_others_go_on(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.nii").write_text("not an image")
    constant = Volume.from_array(np.zeros((8, 8, 8)))
    write_image(tmp_path / "constant.nii", constant.voxels, constant.source)
    report = prepare([tmp_path, scans], tmp_path / "store")
    assert not report.ok
    assert [fault.where for fault in report.faults] == ["constant", "empty", "text"]
    assert Store.open(tmp_path / "store").case_ids == ("scan0", "scan1", "scan2")
    recorded = read_json(tmp_path / "store/record.json")["faults"]
    assert [fault["where"] for fault in recorded] == ["constant", "empty", "text"]
    assert "3 could not be prepared" in report.summary()


def test_a_cohort_that_fails_as_a_whole_leaves_a_store_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("not an image")
    report = prepare(tmp_path, tmp_path / "store")
    assert [fault.where for fault in report.faults] == ["text"]
    assert "Prepared 0 scans" in report.summary()
    with pytest.raises(StoreError, match="no case"):
        Store.open(tmp_path / "store")


def test_a_store_without_a_whole_case_settles_its_settings_anew(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.nii").write_text("not an image")
    assert prepare(tmp_path / "in", tmp_path / "store").spacing_mm == 1.0
    assert not prepare(tmp_path / "in", tmp_path / "store", spacing_mm=4.0).prepared
    write_scan(tmp_path / "in/a.nii", seed=0, spacing_mm=3.0)
    report = prepare(tmp_path / "in", tmp_path / "store")
    assert (report.prepared, report.spacing_mm) == (("a",), 3.0)
    write_scan(tmp_path / "in/b.nii", seed=1, spacing_mm=2.0)
    assert prepare(tmp_path / "in", tmp_path / "store").spacing_mm == 3.0  # there is a case now
    with pytest.raises(ConfigError, match="spacing_mm = 3"):
        prepare(tmp_path / "in", tmp_path / "store", spacing_mm=4.0)


def test_files_that_are_no_scans_are_listed(tmp_path: Path) -> None:
    write_scan(tmp_path / "in/a.nii.gz", seed=0)
    (tmp_path / "in/readme.txt").write_text("")
    report = prepare(tmp_path / "in", tmp_path / "store")
    reason = "no image by name and content"
    assert report.left_out == (LeftOut(tmp_path / "in/readme.txt", reason),)
    assert f"Left out 1 file: 1 x {reason} (readme.txt)" in report.summary()
    assert read_json(tmp_path / "store/record.json")["left_out"] == [
        {"path": str(tmp_path / "in/readme.txt"), "reason": reason, "files": 1}
    ]


def test_label_maps_are_prepared_only_when_that_is_asked_for(tmp_path: Path) -> None:
    write_scan(tmp_path / "in/a.nii.gz", seed=0)
    label = np.zeros((24, 28, 32), np.int16)
    label[4:14, 5:20, 6:20], label[15:20, 6:20, 8:19] = 3, 11
    nib.save(nib.Nifti1Image(label, np.diag([2, 2, 2, 1.0])), tmp_path / "in/b.nii.gz")
    report = prepare(tmp_path / "in", tmp_path / "store")
    assert [fault.where for fault in report.faults] == ["b"]
    assert "found 3 different values, all whole numbers" in report.faults[0].message
    assert prepare(tmp_path / "in", tmp_path / "store", label_maps=True).prepared == ("b",)


def test_a_ct_that_is_not_in_hu_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, air in (("ct_a", -1000), ("ct_b", 24)):
        voxels = rng.integers(air, air + 40, (24, 28, 32))
        voxels[6:18, 6:20, 8:24] += 1050
        (tmp_path / "in").mkdir(exist_ok=True)
        image = nib.Nifti1Image(voxels.astype(np.int16), np.diag([2, 2, 2, 1.0]))
        nib.save(image, tmp_path / f"in/{name}.nii.gz")
    report = prepare(tmp_path / "in", tmp_path / "store")
    assert report.repairs == {"ct_b": ("CT that looks shifted: HU plus 1024, with air at 0",)}


def test_dicom_and_nifti_of_one_folder_are_prepared_together(tmp_path: Path) -> None:
    def blobs(ds: Dataset, number: int) -> None:
        rng = np.random.default_rng(number // 4)
        image = ndimage.gaussian_filter(rng.standard_normal((24, 20)), 2.5)
        ds.Rows, ds.Columns = image.shape
        noise = rng.integers(0, 30, image.shape)
        ds.PixelData = (np.where(image > 0, 1400, 100) + noise).astype(np.int16).tobytes()
        ds.PixelSpacing = [2, 2]

    def cut(ds: Dataset, number: int) -> None:
        blobs(ds, number)
        del ds.PixelSpacing

    places = [2.0 * k for k in range(20) if k != 7]
    dicoms.series(tmp_path / "in/p1/scan", places, change=blobs)
    dicoms.series(tmp_path / "in/p1/scout", [0], change=blobs)
    dicoms.series(tmp_path / "in/p2", places, change=cut)
    write_scan(tmp_path / "in/p3.nii.gz", seed=0)
    report = prepare(tmp_path / "in", tmp_path / "store")
    assert [fault.where for fault in report.faults] == ["p2_001"]
    assert "a slice without PixelSpacing" in report.faults[0].message
    assert [entry.reason for entry in report.left_out] == ["a single slice"]
    told = "interpolated 1 missing of 20 slices (number 8)"
    assert f"Repaired 1 scan (p1_scan: {told})" in report.summary()
    store = Store.open(tmp_path / "store")
    assert store.case_ids == ("p1_scan", "p3")
    record = read_json(tmp_path / "store/cases/p1_scan/case.json")
    assert (record["modality"], record["modality_from"]) == ("ct", "tags")
    assert (record["repairs"], record["source"]["name"]) == ([told], "scan")
    assert dicoms.SECRET not in "".join(f"{c!r}" for c in contents(tmp_path / "store").values())
    again = prepare(tmp_path / "in", tmp_path / "store")
    assert again.kept == ("p1_scan", "p3")
    assert again.repairs == report.repairs


def test_a_changed_scan_is_prepared_anew(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii.gz", seed=0)
    first = prepare(scan, tmp_path / "store")
    write_scan(scan, seed=1)
    second = prepare(scan, tmp_path / "store")
    assert second.prepared == ("a",)
    assert second.fingerprint != first.fingerprint


def test_a_modality_that_is_corrected_by_renaming_a_folder_is_prepared_anew(tmp_path: Path) -> None:
    def modality() -> tuple[str, str]:
        record = Store.open(tmp_path / "store").case("a").record
        return record.modality, record.modality_from

    folders = [tmp_path / name for name in ("CT", "MR", "plain")]
    write_scan(folders[0] / "a.nii.gz", seed=0)
    prepare(folders[0], tmp_path / "store")
    assert modality() == ("ct", "name")
    assert prepare(folders[0], tmp_path / "store").kept == ("a",)
    folders[0].rename(folders[1])
    assert prepare(folders[1], tmp_path / "store").prepared == ("a",)
    assert modality() == ("mr", "name")
    folders[1].rename(folders[2])
    assert prepare(folders[2], tmp_path / "store").prepared == ("a",)  # no name tells it now
    assert modality() == ("mr", "histogram")
    assert prepare(folders[2], tmp_path / "store").kept == ("a",)
    folders[2].rename(folders[0])
    assert prepare(folders[0], tmp_path / "store").prepared == ("a",)
    assert modality() == ("ct", "name")


def test_a_modality_that_is_set_is_no_matter_of_names(tmp_path: Path) -> None:
    write_scan(tmp_path / "CT/a.nii.gz", seed=0)
    prepare(tmp_path / "CT", tmp_path / "store", modality="mr")
    (tmp_path / "CT").rename(tmp_path / "PET")
    assert prepare(tmp_path / "PET", tmp_path / "store", modality="mr").kept == ("a",)


def test_cases_that_are_not_among_the_inputs_are_told_and_copies_are_named(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"in/{name}.nii", seed=i) for i, name in enumerate("abc")]
    assert "also holds" not in prepare(scans, tmp_path / "store").summary()
    scans[0].rename(tmp_path / "in/new.nii")
    scans[1].unlink()
    report = prepare(tmp_path / "in", tmp_path / "store")
    assert report.others.cases == ("a", "b")
    assert report.others.copies == {"a": "new"}
    assert "also holds 2 cases of earlier calls (a, b), not among" in report.summary()
    assert "1 scan of them the store holds twice (a is new)" in report.summary()


def test_a_scan_that_has_become_unreadable_stays_as_it_was_prepared(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"{name}.nii", seed=0) for name in "ab"]
    first = prepare(scans, tmp_path / "store")
    scans[0].write_text("gone")
    second = prepare(scans, tmp_path / "store")
    assert [fault.where for fault in second.faults] == ["a"]
    assert "older than its scan" in second.faults[0].message
    assert Store.open(tmp_path / "store").case_ids == ("a", "b")
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_case_id_longer_than_a_name_may_be_is_a_fault_and_the_others_go_on(
    tmp_path: Path, letter: str
) -> None:
    deep = tmp_path / "in" / (90 * letter) / (90 * letter)
    write_scan(deep / f"0{90 * letter}.nii", seed=0)
    write_scan(tmp_path / "in" / "short.nii", seed=1)
    report = prepare([tmp_path / "in"], tmp_path / "store")
    assert [fault.where[:3] for fault in report.faults] == [3 * letter]
    assert "name" in report.faults[0].message
    assert Store.open(tmp_path / "store").case_ids == ("short",)


def test_a_broken_case_of_a_scan_that_cannot_be_read_leaves_the_store(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"{name}.nii", seed=0) for name in "ab"]
    prepare(scans, tmp_path / "store")
    scans[0].write_text("gone")
    (tmp_path / "store" / "cases" / "a" / IMAGE).write_bytes(b"broken")
    faults = prepare(scans, tmp_path / "store").faults
    assert [fault.where for fault in faults] == ["a"]
    assert "older" not in faults[0].message
    assert Store.open(tmp_path / "store").case_ids == ("b",)


def test_the_voxels_of_a_detached_header_count_as_the_scan(tmp_path: Path) -> None:
    def write(seed: int) -> None:
        voxels = np.random.default_rng(seed).normal(size=SHAPE)
        voxels = ndimage.gaussian_filter(voxels, 2).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "in/a.mhd"))

    (tmp_path / "in").mkdir()
    write(0)
    assert prepare(tmp_path / "in", tmp_path / "store").left_out == ()
    write(1)
    assert prepare(tmp_path / "in", tmp_path / "store").prepared == ("a",)


def test_scans_may_be_added_later(scans: Path, tmp_path: Path) -> None:
    prepare(write_scan(tmp_path / "a.nii", seed=7, spacing_mm=3.0), tmp_path / "store")
    report = prepare(scans, tmp_path / "store")
    assert report.spacing_mm == 3.0  # auto keeps what the store has
    assert Store.open(tmp_path / "store").case_ids == ("a", "scan0", "scan1", "scan2")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_scans_added_one_by_one_make_the_store_of_all_at_once(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes], order: tuple[int, ...]
) -> None:
    for number in order:
        report = prepare(scans / f"scan{number}.nii.gz", tmp_path, spacing_mm=2.0)
        assert report.prepared == (f"scan{number}",)
    about_the_call = {"config.toml", "record.json"}  # which inputs it was given
    found = contents(tmp_path)
    assert found.keys() == undisturbed.keys()
    for name in found.keys() - about_the_call:
        assert found[name] == undisturbed[name], name


def test_killed_while_scans_are_added_the_same_call_makes_the_store_of_all_at_once(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    fork = multiprocessing.get_context("fork")
    for number in (2, 6, 9):
        store = tmp_path / str(number)
        prepare(scans / "scan1.nii.gz", store, spacing_mm=2.0)
        child = fork.Process(target=killed_at_flush, args=(scans, store, number))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        with pytest.raises(StoreError, match="not finished"):
            Store.open(store)
        assert "scan1" in prepare(scans, store).kept
        assert contents(store) == undisturbed


def test_other_settings_for_the_same_store_are_refused_by_name(scans: Path, tmp_path: Path) -> None:
    prepare(scans, tmp_path, spacing_mm=3.0)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"spacing_mm = 3\.0"):
        prepare(scans, tmp_path, spacing_mm=4.0)
    assert contents(tmp_path) == before


def test_a_broken_case_is_redone(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    prepare(scans, tmp_path)
    (tmp_path / "cases/scan1/image.b2nd").write_bytes(b"broken")
    report = prepare(scans, tmp_path)
    assert report.prepared == ("scan1",)
    assert contents(tmp_path) == undisturbed


def test_a_folder_without_scans_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan"):
        prepare(tmp_path, tmp_path / "store")


def test_a_store_cannot_lie_on_its_own_input(scans: Path) -> None:
    with pytest.raises(ConfigError, match="also an input"):
        prepare(scans, scans)


def test_scans_that_become_too_small_are_counted_with_a_remedy(scans: Path, tmp_path: Path) -> None:
    report = prepare(scans, tmp_path / "coarse", spacing_mm=2.6)  # 24 voxels of 2 mm become 18
    assert (report.ok, len(report.too_small)) == (True, 3)
    assert "at 2.6 mm, 3 scans of fewer than 16 voxels along an axis (" in report.summary()
    assert f"({', '.join(report.prepared)})" in report.summary()
    assert "finer spacing_mm" in report.summary()
    report = prepare(scans, tmp_path / "fine")
    assert report.too_small == ()
    assert "Warning" not in report.summary()


def killed_at_flush(scans: Path, store: Path, number: int) -> None:
    """Prepare, and die the hard way just before the given flush to disk."""
    flush, count = os.fsync, [0]

    def fsync(fd: Any) -> None:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(fd)

    os.fsync = fsync  # this is a process of its own
    prepare(scans, store)


def test_killed_at_any_moment_the_same_call_ends_with_the_same_bytes(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    fork = multiprocessing.get_context("fork")
    kills = 0
    for number in range(1, 40, 2):
        store = tmp_path / str(number)
        child = fork.Process(target=killed_at_flush, args=(scans, store, number))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        kills += 1
        assert child.exitcode == -signal.SIGKILL
        with contextlib.suppress(StoreError):  # a store that opens must be the whole store
            Store.open(store)
            assert contents(store) == undisturbed
        assert prepare(scans, store).ok
        assert contents(store) == undisturbed, f"killed at flush {number}"
    assert kills >= 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_with_workers_it_goes_on_later(
    scans: Path, tmp_path: Path, undisturbed: dict[str, bytes], how: signal.Signals
) -> None:
    store = tmp_path / "store"
    script = (
        "from pathlib import Path; from mass3d.apps.prepare import PrepareConfig, run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # not so in the background
        "scans, store = map(Path, sys.argv[1:])\n"
        "run(PrepareConfig(inputs=(scans,), output=store, workers=2))"
    )
    command = [sys.executable, "-c", "import signal, sys; " + script, str(scans), str(store)]
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    child = subprocess.Popen(
        command,
        cwd=here,
        env=os.environ | {"TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(store.glob("cases/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, how) if how == signal.SIGKILL else os.killpg(child.pid, how)
    assert child.wait(timeout=30) != 0
    deadline = time.monotonic() + 60  # of the workers, on a busy machine
    while at_work(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not at_work(child.pid)
    assert not list(here.iterdir())
    assert how == signal.SIGKILL or not list(scratch.iterdir())
    assert prepare(scans, store).ok
    assert contents(store) == undisturbed


def at_work(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process.pid)
    return found


def test_other_external_masks_renew_the_masks_of_their_case_and_nothing_else(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[4:12, 4:12, 4:12] = 1
    source = Volume.from_array(label, spacing_mm=(2.0, 2.0, 2.0)).source
    for number in range(3):
        write_image(tmp_path / f"masks/scan{number}/one.nii.gz", label, source)
    masks = {"engines": ["external"], "external": {"folders": [tmp_path / "masks"]}}
    first = prepare(scans, tmp_path / "store", masks=masks)
    assert first.num_masks == {"scan0": 1, "scan1": 1, "scan2": 1}
    before = contents(tmp_path / "store/cases")
    label[6:8] = 2
    write_image(tmp_path / "masks/scan1/two.nii.gz", label, source)
    # images are not made again
    monkeypatch.setattr("mass3d.execution.preparing.prepare_volume", None)
    again = prepare(scans, tmp_path / "store", masks=masks)
    assert (again.prepared, again.kept) == (("scan1",), ("scan0", "scan2"))
    assert again.num_masks == {"scan0": 1, "scan1": 3, "scan2": 1}
    assert again.fingerprint != first.fingerprint
    after = contents(tmp_path / "store/cases")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"scan1/{part}" for part in ("case.json", "layers.b2nd", "masks.npz")}
    assert check_store(tmp_path / "store") == []
