"""Results become a dataset that nnU-Net and our own reader understand; nothing is lost or made up.

The results are made by hand here; tests/apps/test_export_raw.py has them made by the verb.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import dicoms
from mass3d.errors import ConfigError, DataError
from mass3d.files import file_hash, read_json, write_json
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.dataset_json import read_targets_in
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.datasets.source import source_hash
from mass3d.io.read import read_volume
from mass3d.io.write import write_file_order, write_label
from mass3d.transfer.finetuned.scans import read_labelled, structures_of
from mass3d.transfer.raw_dataset.plan import open_results, plan_of, require_name
from mass3d.transfer.raw_dataset.settings import RawConfig
from mass3d.transfer.raw_dataset.true_labels import Behind
from mass3d.transfer.raw_dataset.write import RawDataset, write_raw
from mass3d.transfer.results import CASES, Entry, Index

SHAPE = (6, 5, 4)
# file axes run along other axes of the world, as those of real scans do
AFFINE = np.array([[0, -2.0, 0, 3], [1.5, 0, 0, -4], [0, 0, 3.0, 5], [0, 0, 0, 1]])
PLAIN: dict[str, Any] = {"liver": 7, "spleen": 3}
REGIONS: dict[str, Any] = {"whole": [1, 2, 4], "core": [2, 4], "centre": [4]}


@dataclass(frozen=True)
class Made:
    """Hand-made results and the scans they are of."""

    scans: Path
    results: Path

    def export(self, output: Path, **settings: Any) -> RawDataset:
        """As the verb does it."""
        config = RawConfig.model_validate(settings)
        results = open_results(self.results)
        plan = plan_of(results, config, output=output)
        claim = partial(
            write_json, output / "record.json", {"verb": "export", "config": [*settings]}
        )
        return write_raw(output, results, plan, config, told={}, claim=claim)

    def change(self, name: str, **facts: Any) -> None:
        """Change what cases.json says of a case."""
        told = read_json(self.results / CASES)
        told["cases"][name] |= facts
        write_json(self.results / CASES, told)


def image(seed: int) -> NDArray[np.int16]:
    """As MR has it: no value of air."""
    return np.random.default_rng(seed).integers(0, 800, SHAPE).astype(np.int16)


def label(seed: int, structures: Mapping[str, Any]) -> NDArray[np.uint16]:
    """As `segment` writes it: of a region the lowest value that no other has."""
    written = [*structures.values()] if structures is PLAIN else [1, 2, 4]
    return np.random.default_rng(seed).choice([0, *written], SHAPE).astype(np.uint16)


def made(folder: Path, names: tuple[str, ...], structures: Mapping[str, Any] = PLAIN) -> Made:
    scans, results = folder / "scans", folder / "found"
    for seed, name in enumerate(names):
        write_file_order(scans / f"{name}.nii.gz", image(seed), AFFINE)
    return listed(scans, results, structures)


def listed(scans: Path, results: Path, structures: Mapping[str, Any] = PLAIN) -> Made:
    """Results of all scans of a folder."""
    entries = {}
    for seed, case in enumerate(find_cohort([scans]).cases):
        file = results / f"{case.case_id}.nii.gz"
        volume = read_volume(case.scan)
        found = np.resize(label(seed, structures), volume.grid.shape)
        write_label(file, found, volume.source)
        agreement = dict.fromkeys(structures, 0.5 + 0.1 * seed)
        entries[case.case_id] = Entry(
            source=source_hash(case), result=file_hash(file), agreement=agreement
        )
    index = Index(task="t" * 64, overlap=0.5, alignment=True, cases=entries)
    write_json(results / CASES, index.plain())
    config = {"inputs": [str(scans)], "task": "gone.task"}
    record = {"verb": "segment", "mass3d": "1", "config": config, "structures": dict(structures)}
    write_json(results / "record.json", record)
    return Made(scans, results)


def files(folder: Path) -> dict[str, bytes]:
    found = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_values_become_consecutive_and_keep_names_places_and_grid(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b"))
    report = origin.export(tmp_path / "Dataset501_X")
    assert not report.faults
    told = read_json(tmp_path / "Dataset501_X" / "dataset.json")
    assert told == {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "spleen": 1, "liver": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert set(files(tmp_path / "Dataset501_X")) == {
        ".lock",
        "cases.json",
        "dataset.json",
        "record.json",
        *(f"imagesTr/{name}_0000.nii.gz" for name in "ab"),
        *(f"labelsTr/{name}.nii.gz" for name in "ab"),
    }
    for name in "ab":
        before = nib.load(origin.results / f"{name}.nii.gz")
        after = nib.load(tmp_path / f"Dataset501_X/labelsTr/{name}.nii.gz")
        assert (after.affine == before.affine).all()
        old, new = np.asarray(before.dataobj), np.asarray(after.dataobj)
        for value, number in ((0, 0), (3, 1), (7, 2)):
            assert ((old == value) == (new == number)).all()
    assert report.in_words().startswith("Raw dataset of nnU-Net of 2 cases in ")
    assert (
        "2 with labels that were found, 0 with true labels. Scans: 2 linked;" in report.in_words()
    )
    assert "cannot be read (gone.task: found no file" in report.in_words()


def test_our_own_reader_of_datasets_finds_every_case(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b"))
    origin.export(tmp_path / "Dataset501_X")
    cases = find_labelled([tmp_path / "Dataset501_X"])
    assert [case.case_id for case in cases] == ["a", "b"]
    targets = structures_of(cases, None)
    assert targets.values == {"spleen": 1, "liver": 2}
    for seed, case in enumerate(cases):
        read = read_labelled(case, targets)
        assert (
            read.volume.voxels == read_volume(origin.scans / f"{case.case_id}.nii.gz").voxels
        ).all()
        found = read_volume(origin.results / f"{case.case_id}.nii.gz").voxels
        assert (read.numbers == (found == 3) + 2 * (found == 7)).all(), seed


def test_regions_stay_regions(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",), REGIONS)
    origin.export(tmp_path / "Dataset501_X")
    told = read_json(tmp_path / "Dataset501_X/dataset.json")
    assert told["labels"] == {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "centre": 3}
    assert list(told["labels"]) == ["background", "whole", "core", "centre"]
    assert told["regions_class_order"] == [1, 2, 3]
    targets = read_targets_in(tmp_path / "Dataset501_X/dataset.json")
    assert targets.values == {"whole": 1, "core": 2, "centre": 3}
    before = np.asarray(nib.load(origin.results / "a.nii.gz").dataobj)
    after = np.asarray(nib.load(tmp_path / "Dataset501_X/labelsTr/a.nii.gz").dataobj)
    for name, some in REGIONS.items():
        assert (np.isin(before, some) == np.isin(after, targets.members[name])).all(), name


def test_a_link_takes_no_space_and_a_copy_stays_when_the_scan_goes(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",))
    linked = origin.export(tmp_path / "Dataset501_X")
    copied = origin.export(tmp_path / "Dataset502_X", images="copy")
    scan = (origin.scans / "a.nii.gz").read_bytes()
    one, other = (tmp_path / f"Dataset{n}_X/imagesTr/a_0000.nii.gz" for n in (501, 502))
    assert one.is_symlink()
    assert not other.is_symlink()
    assert one.read_bytes() == other.read_bytes() == scan
    assert linked.bytes < copied.bytes
    shutil.rmtree(origin.scans)
    assert other.read_bytes() == scan
    assert not one.exists()


def test_what_nnunet_would_read_otherwise_is_written_anew(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    dicoms.series(scans / "ct")
    with_nan = image(1).astype(np.float32)
    with_nan[0, 0, 0] = np.nan
    write_file_order(scans / "nan.nii.gz", with_nan, AFFINE)
    write_file_order(scans / "plain.nii", image(2), AFFINE)
    write_file_order(scans / "empty_axis.nii.gz", image(3)[..., None], AFFINE)
    write_file_order(scans / "whole.nii.gz", image(4), AFFINE)
    origin = listed(scans, tmp_path / "found")
    report = origin.export(tmp_path / "Dataset501_X")
    assert not report.faults
    assert report.images == {"link": 1, "written": 4}
    assert "1 linked, 4 written anew" in report.in_words()
    for case in find_cohort([scans]).cases:
        ours = nib.load(tmp_path / f"Dataset501_X/imagesTr/{case.case_id}_0000.nii.gz")
        volume = read_volume(case.scan)
        assert ours.ndim == 3
        assert np.isfinite(ours.get_fdata()).all()
        np.testing.assert_allclose(ours.affine, volume.source.affine, atol=1e-4)
        assert (volume.source.from_canonical(volume.voxels) == ours.get_fdata()).all()
    assert "several kinds, CT (1), MR (4)" in report.in_words()
    assert read_json(tmp_path / "Dataset501_X/dataset.json")["channel_names"] == {"0": "image"}
    named = origin.export(tmp_path / "Dataset501_X", channel="CT")
    assert read_json(tmp_path / "Dataset501_X/dataset.json")["channel_names"] == {"0": "CT"}
    assert "several kinds" not in named.in_words()


def test_cases_on_which_references_agree_least_are_left_out_and_told(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b", "c", "d"))
    origin.change("d", agreement={})
    report = origin.export(tmp_path / "Dataset501_X", min_agreement=0.6)
    assert report.left_out == {"d": None, "a": 0.5}
    assert list(report.left_out) == ["d", "a"]
    assert "Left out, as references agree too little: d (none), a (0.50)." in report.in_words()
    assert [case.case_id for case in find_labelled([report.output])] == ["b", "c"]
    assert read_json(report.output / "dataset.json")["numTraining"] == 2
    for name in "abc":
        origin.change(name, agreement={})
    with pytest.raises(ConfigError, match="nothing of agreement"):
        origin.export(tmp_path / "Dataset502_X", min_agreement=0.6)


def test_true_labels_take_the_place_of_what_was_found(tmp_path: Path) -> None:
    """Also those with voxels that nobody has annotated, and of a case that would be left out."""
    origin = made(tmp_path, ("a", "b"))
    truth = np.zeros(SHAPE, np.uint8)
    truth[:2], truth[2:4], truth[4] = 7, 9, 200
    write_file_order(tmp_path / "truth" / "a.nii.gz", truth, AFFINE)
    labels = {"background": 0, "liver": 7, "other": 200, "ignore": 9}
    write_json(tmp_path / "truth" / "dataset.json", {"labels": labels})
    report = origin.export(
        tmp_path / "Dataset501_X", true_labels=tmp_path / "truth", min_agreement=0.55
    )
    assert report.labels == {"true": 1, "found": 1}
    told = read_json(report.output / "dataset.json")["labels"]
    assert told == {"background": 0, "spleen": 1, "liver": 2, "ignore": 3}
    written = np.asarray(nib.load(report.output / "labelsTr/a.nii.gz").dataobj)
    assert (written == np.array([2, 2, 3, 3, 0, 0])[:, None, None]).all()
    assert any("shows no spleen, which nnU-Net takes for absence" in w for w in report.warnings)


def test_a_true_label_is_written_again_where_another_value_is_ignored(tmp_path: Path) -> None:
    origin, truth = made(tmp_path, ("a",)), tmp_path / "truth"
    write_file_order(truth / "a.nii.gz", np.full(SHAPE, 7, np.uint8), AFFINE)
    found = []
    for labels in ({"liver": 7}, {"spleen": 3, "ignore": 7}):
        write_json(truth / "dataset.json", {"labels": {"background": 0, **labels}})
        report = origin.export(tmp_path / "Dataset501_X", true_labels=truth)
        written = np.asarray(nib.load(report.output / "labelsTr/a.nii.gz").dataobj)
        found.append(np.unique(written).tolist())
    assert found == [[2], [3]]


def test_unknown_values_of_a_true_label_are_a_fault_of_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a reference, unless some of its structures were chosen."""
    origin = made(tmp_path, ("a", "b"))
    truth = tmp_path / "truth" / "a.nii.gz"
    write_file_order(truth, np.full(SHAPE, 255, np.uint8), AFFINE)
    report = origin.export(tmp_path / "Dataset501_X", true_labels=truth.parent)
    (fault,) = report.faults
    assert fault.where == "a"
    assert "a.nii.gz: found label values that no structure has (255)" in fault.message
    assert report.labels == {"found": 1}
    case = CaseFile("b", origin.scans / "b.nii.gz", label=LabelFiles((truth,)))
    for chosen in (False, True):
        behind = Behind((case,), chosen=chosen)
        monkeypatch.setattr("mass3d.transfer.raw_dataset.plan.labelled_behind", lambda *_: behind)  # noqa: B023
        report = origin.export(tmp_path / f"Dataset51{chosen:d}_X")
        assert [one.where for one in report.faults] == ([] if chosen else ["b"])


def test_true_labels_of_no_case_are_refused_or_told(tmp_path: Path) -> None:
    """Whoever corrects label maps wants them used: none of them goes unseen."""
    origin = made(tmp_path, ("a", "b"))
    wrong = tmp_path / "truth"
    told = "found {}; expected a folder of true label maps, named like the cases"
    for there in ("no folder of this name", "no label map"):
        with pytest.raises(ConfigError, match=told.format(there)) as caught:
            origin.export(tmp_path / "Dataset501_X", true_labels=wrong)
        assert (caught.value.where, caught.value.setting) == (str(wrong), "raw.true_labels")
        wrong.mkdir(exist_ok=True)
    for name in ("A.nii.gz", "a_corrected.nii.gz", ".a.nii.gz", "notes.txt"):
        write_file_order(wrong / name, np.full(SHAPE, 7, np.uint8), AFFINE)
    with pytest.raises(ConfigError, match=r"\(A.nii.gz, a_corrected.nii.gz\).*such as a.nii.gz"):
        origin.export(tmp_path / "Dataset501_X", true_labels=wrong)
    assert not (tmp_path / "Dataset501_X").exists()
    write_file_order(wrong / "b.nii.gz", np.full(SHAPE, 7, np.uint8), AFFINE)
    report = origin.export(tmp_path / "Dataset501_X", true_labels=wrong)
    assert report.labels == {"found": 1, "true": 1}
    told = f"label maps in {wrong} are not taken, as no case is called so: A.nii.gz, a_corrected"
    assert any(told in sentence for sentence in report.warnings)


@pytest.mark.parametrize(
    ("found", "names"),
    [("other", ("ct", "ct-reference")), ("ct", ("ct-reference", "ct-reference-2"))],
)
def test_references_of_one_file_name_are_cases_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, names: tuple[str, str]
) -> None:
    """Also beside a found case of that name. The same scan twice is one case."""
    origin = made(tmp_path, (found,))
    references = []
    for place, seed, value in (("p", 10, 7), ("q", 11, 3), ("copy_of_q", 11, 3)):
        scan, truth = (tmp_path / place / f"{name}.nii.gz" for name in ("ct", "truth"))
        write_file_order(scan, image(seed), AFFINE)
        write_file_order(truth, np.full(SHAPE, value, np.uint8), AFFINE)
        references.append(CaseFile("ct", scan, label=LabelFiles((truth,))))
    behind = Behind(tuple(references))
    monkeypatch.setattr("mass3d.transfer.raw_dataset.plan.labelled_behind", lambda *_: behind)
    report = origin.export(tmp_path / "Dataset501_X")
    assert not report.faults
    assert report.labels == {"found": 1, "true": 2}
    for name, seed, number in zip(names, (10, 11), (2, 1), strict=True):
        scan = nib.load(report.output / f"imagesTr/{name}_0000.nii.gz")
        assert (np.asarray(scan.dataobj) == image(seed)).all()
        truth = nib.load(report.output / f"labelsTr/{name}.nii.gz")
        assert (np.asarray(truth.dataobj) == number).all()


def test_a_label_map_corrected_by_hand_is_taken_and_told_and_so_are_doubts(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",))
    write_file_order(origin.results / "a.nii.gz", np.full(SHAPE, 7, np.uint8), AFFINE)
    origin.change("a", doubts=["nobody knows what it shows"])
    report = origin.export(tmp_path / "Dataset501_X")
    assert any("changed by hand" in sentence for sentence in report.warnings)
    assert "a: nobody knows what it shows" in report.warnings
    assert (np.asarray(nib.load(report.output / "labelsTr/a.nii.gz").dataobj) == 2).all()


def test_what_does_not_fit_is_a_fault_and_the_others_go_on(tmp_path: Path) -> None:
    origin = made(tmp_path, ("another_grid", "changed", "gone", "good", "strange", "unfinished"))
    moved = AFFINE + np.diag([0, 0, 1, 0])
    write_file_order(origin.results / "another_grid.nii.gz", label(0, PLAIN), moved)
    write_file_order(origin.scans / "changed.nii.gz", image(77), AFFINE)
    (origin.scans / "gone.nii.gz").unlink()
    write_file_order(origin.results / "strange.nii.gz", np.full(SHAPE, 5, np.uint8), AFFINE)
    origin.change("unfinished", result="")
    report = origin.export(tmp_path / "Dataset501_X")
    faults = {fault.where: fault.message for fault in report.faults}
    assert sorted(faults) == ["another_grid", "changed", "gone", "strange"]
    assert "the grid of" in faults["another_grid"]
    assert "changed since it was segmented" in faults["changed"]
    assert "no scan of this name" in faults["gone"]
    assert "label values that no structure has (5)" in faults["strange"]
    assert any("1 scan" in sentence for sentence in report.warnings)
    assert [case.case_id for case in find_labelled([report.output])] == ["good"]


def test_a_killed_export_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b", "c"))
    folder = tmp_path / "Dataset501_X"
    origin.export(folder)
    whole = files(folder)
    (folder / "dataset.json").unlink()
    (folder / "labelsTr/b.nii.gz").write_bytes(b"half")
    (folder / "imagesTr/c_0000.nii.gz").unlink()
    told = read_json(folder / CASES)
    told["cases"]["b"]["files"] = {}
    write_json(folder / CASES, told)
    kept = (folder / "labelsTr/a.nii.gz").stat().st_mtime_ns
    assert not origin.export(folder).faults
    assert files(folder) == whole
    assert (folder / "labelsTr/a.nii.gz").stat().st_mtime_ns == kept


def test_a_case_that_is_gone_from_the_results_leaves_the_dataset(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b"))
    folder = origin.export(tmp_path / "Dataset501_X").output
    told = read_json(origin.results / CASES)
    del told["cases"]["b"]
    write_json(origin.results / CASES, told)
    origin.export(folder)
    assert [case.case_id for case in find_labelled([folder])] == ["a"]
    assert not list(folder.rglob("b*"))
    assert read_json(folder / "dataset.json")["numTraining"] == 1


def corrected(folder: Path, name: str) -> bytes:
    """Correct a label of the dataset by hand; returns the bytes of the file."""
    file = folder / "labelsTr" / f"{name}.nii.gz"
    write_file_order(file, np.full(SHAPE, 1, np.uint8), AFFINE)
    return file.read_bytes()


def test_a_label_of_the_dataset_corrected_by_hand_stays_when_more_scans_are_exported(
    tmp_path: Path,
) -> None:
    """Also where the results have changed since; only who moves it gets another one."""
    origin = made(tmp_path, ("a", "b"))
    folder = origin.export(tmp_path / "Dataset501_X").output
    mine = corrected(folder, "a")
    for names in (("a", "b"), ("a", "b", "c")):
        report = made(tmp_path, names).export(folder)
        (fault,) = report.faults
        assert fault.where == "a"
        assert "not as mass3d wrote it" in fault.message
        assert "It stays as it is" in fault.message
        assert (folder / "labelsTr/a.nii.gz").read_bytes() == mine
        assert [case.case_id for case in find_labelled([folder])] == [*names]
        assert read_json(folder / "dataset.json")["numTraining"] == len(names)
    write_file_order(origin.results / "a.nii.gz", np.full(SHAPE, 7, np.uint8), AFFINE)
    assert "not as mass3d wrote it" in origin.export(folder).faults[0].message
    assert (folder / "labelsTr/a.nii.gz").read_bytes() == mine
    (folder / "labelsTr/a.nii.gz").rename(tmp_path / "mine.nii.gz")
    assert not origin.export(folder).faults
    assert (np.asarray(nib.load(folder / "labelsTr/a.nii.gz").dataobj) == 2).all()


def test_a_damaged_label_is_written_again_and_a_changed_copy_of_a_scan_stays(
    tmp_path: Path,
) -> None:
    origin = made(tmp_path, ("a", "b"))
    folder = origin.export(tmp_path / "Dataset501_X", images="copy").output
    whole = files(folder)
    (folder / "labelsTr/a.nii.gz").write_bytes(b"half")
    assert not origin.export(folder, images="copy").faults
    assert files(folder) == whole
    write_file_order(folder / "imagesTr/b_0000.nii.gz", image(9), AFFINE)
    mine = (folder / "imagesTr/b_0000.nii.gz").read_bytes()
    assert [fault.where for fault in origin.export(folder, images="copy").faults] == ["b"]
    assert (folder / "imagesTr/b_0000.nii.gz").read_bytes() == mine


def test_a_label_corrected_by_hand_stays_when_its_case_goes(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b"))
    folder = origin.export(tmp_path / "Dataset501_X").output
    mine = corrected(folder, "b")
    told = read_json(origin.results / CASES)
    del told["cases"]["b"]
    write_json(origin.results / CASES, told)
    report = origin.export(folder)
    assert [path.name for path in folder.rglob("b*")] == ["b.nii.gz"]
    assert (folder / "labelsTr/b.nii.gz").read_bytes() == mine
    assert any("b.nii.gz was changed by hand and stays" in one for one in report.warnings)
    assert [case.case_id for case in find_labelled([folder])] == ["a"]
    back = made(tmp_path, ("a", "b")).export(folder)
    assert "a file that mass3d has not written" in back.faults[0].message
    assert (folder / "labelsTr/b.nii.gz").read_bytes() == mine


def test_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a", "b"))
    folder = tmp_path / "Dataset501_X"
    mine = folder / "labelsTr" / "a.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    report = origin.export(folder)
    assert "a file that mass3d has not written" in report.faults[0].message
    assert mine.read_text() == "mine"
    before = (folder / "record.json").read_bytes()
    with pytest.raises(ConfigError, match="images = link"):
        origin.export(folder, images="copy")
    assert (folder / "record.json").read_bytes() == before
    told = read_json(origin.results / CASES)
    write_json(origin.results / CASES, told | {"task": "u" * 64})
    with pytest.raises(ConfigError, match="a dataset of other results"):
        origin.export(folder)
    (folder / CASES).write_text("{")
    with pytest.raises(DataError, match="a damaged list of cases"):
        origin.export(folder)


def test_nothing_to_write_writes_no_table(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",))
    write_file_order(origin.scans / "a.nii.gz", image(9), AFFINE)
    report = origin.export(tmp_path / "Dataset501_X")
    assert report.faults
    assert "Scans: none" in report.in_words()
    assert not (report.output / "dataset.json").exists()


def test_scans_that_have_moved_are_asked_for(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",))
    origin.scans.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="nothing at") as refused:
        origin.export(tmp_path / "Dataset501_X")
    assert refused.value.setting == "raw.scans"
    assert not origin.export(tmp_path / "Dataset501_X", scans=[tmp_path / "moved"]).faults


def test_labels_that_lie_beside_scans_are_not_taken_for_what_was_found(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",))
    write_file_order(origin.scans / "labels" / "a.nii.gz", np.full(SHAPE, 7, np.uint8), AFFINE)
    assert origin.export(tmp_path / "Dataset501_X").labels == {"found": 1}


def test_other_folders_and_names_are_refused(tmp_path: Path) -> None:
    origin = made(tmp_path, ("a",), {"ignore": 3})
    with pytest.raises(ConfigError, match="no results of mass3d segment"):
        open_results(origin.scans)
    with pytest.raises(ConfigError, match="a word that nnU-Net has for itself"):
        open_results(origin.results)
    with pytest.raises(ConfigError, match="Call it Dataset501_over"):
        require_name(tmp_path / "over")
    require_name(tmp_path / "Dataset007_Liver")
