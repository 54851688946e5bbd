"""`mass3d export --to nnunet-raw`: results of `segment`, by a task or by a finetuned model."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mass3d
from mass3d.apps.export import ExportReport
from mass3d.apps.segment import SegmentReport
from mass3d.errors import ConfigError
from mass3d.execution.ownership import record_of
from mass3d.files import read_json, write_json
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.read import read_label
from mass3d.phantom import STRUCTURES
from mass3d.transfer.finetuned.scans import structures_of
from mass3d.transfer.raw_dataset.true_labels import labelled_behind
from mass3d.transfer.results import read_results

NAMES = ("ct_000", "ct_002")
OTHERS = ("mr_001", "mr_003")


@pytest.fixture(scope="module")
def task_file(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two references, one of which is not among the scans that are segmented."""
    path = tmp_path_factory.mktemp("tasks") / "organs.task"
    shutil.copytree(cohort / "imagesTr", path.parent / "elsewhere")
    mass3d.task(
        images=[path.parent / "elsewhere" / f"{name}_0000.nii.gz" for name in NAMES],
        labels=[cohort / "labelsTr" / f"{name}.nii.gz" for name in NAMES],
        model=trained,
        output=path,
        structures={"kidneys": 2, "gallbladder": 4},
        tune=False,
        device="cpu",
    )
    return path


@pytest.fixture(scope="module")
def scans(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, one of them a reference under another name."""
    folder = tmp_path_factory.mktemp("scans")
    shutil.copy(cohort / "imagesTr" / "ct_000_0000.nii.gz", folder / "patient.nii.gz")
    shutil.copy(cohort / "imagesTr" / "mr_001_0000.nii.gz", folder / "ct_002.nii.gz")
    return folder


@pytest.fixture(scope="module")
def found(scans: Path, task_file: Path) -> Path:
    report: SegmentReport = mass3d.segment(
        inputs=[scans], task=task_file, output=task_file.parent / "found", device="cpu"
    )
    assert report.ok
    return report.output


def export(results: Path, output: Path, **settings: object) -> ExportReport:
    return mass3d.export(model=results, output=output, to="nnunet-raw", **settings)  # type: ignore[arg-type]


def test_references_have_their_true_labels_and_those_that_were_not_segmented_are_added(
    cohort: Path, found: Path, tmp_path: Path
) -> None:
    report = export(found, tmp_path / "Dataset501_Torso", title="Torso", license="cc-by-4.0")
    assert report.ok
    assert report.raw is not None
    assert report.raw.labels == {"true": 2, "found": 1}
    assert report.summary() == report.raw.in_words()
    cases = {case.case_id: case for case in find_labelled([report.output])}
    assert sorted(cases) == ["ct_002", "ct_002-reference", "patient"]
    assert structures_of([*cases.values()], None).values == {"kidneys": 1, "gallbladder": 2}
    for name, origin in (("patient", "ct_000"), ("ct_002-reference", "ct_002")):
        truth = np.asarray(nib.load(cohort / "labelsTr" / f"{origin}.nii.gz").dataobj)
        written = np.asarray(nib.load(report.output / "labelsTr" / f"{name}.nii.gz").dataobj)
        assert (written == (truth == 2) + 2 * (truth == 4)).all()
    result = read_label(found / "ct_002.nii.gz").voxels
    written = read_label(report.output / "labelsTr" / "ct_002.nii.gz").voxels
    assert (written == (result == 2) + 2 * (result == 4)).all()
    table = read_json(report.output / "dataset.json")
    assert (table["name"], table["license"]) == ("Torso", "cc-by-4.0")
    assert "description" not in table
    record = read_json(report.output / "record.json")
    assert record["verb"] == "export"
    assert record["structures"] == {"kidneys": 2, "gallbladder": 4}
    assert export(found, report.output, title="Torso", license="cc-by-4.0") == report


def test_agreement_of_real_references_decides(found: Path, tmp_path: Path) -> None:
    report = export(found, tmp_path / "Dataset501_X", raw={"min_agreement": 1.0})
    assert report.raw is not None
    assert list(report.raw.left_out) == ["ct_002"]
    assert report.raw.labels == {"true": 2}
    assert read_json(report.output / "record.json")["left_out"].keys() == {"ct_002"}


def test_a_task_that_is_gone_changed_adapted_or_merged_is_told(
    found: Path, task_file: Path, tmp_path: Path
) -> None:
    made_by = read_results(found).task
    assert len(labelled_behind(found, made_by).cases) == 2
    assert "is another one than made" in labelled_behind(found, "0" * 64).notes[0]
    record = record_of(task_file) / "record.json"
    whole = read_json(record)
    for verb, config, told in (
        ("merge", {}, "show only some of its structures"),
        ("", {}, "no record of how it was made"),
        ("task", {"images": ["gone.nii.gz"], "labels": ["gone.nii.gz"]}, "is not taken"),
    ):
        write_json(record, {"verb": verb, "config": config, "fingerprint": made_by})
        behind = labelled_behind(found, made_by)
        assert not behind.cases
        assert told in behind.notes[0]
    first = tmp_path / "first.task"
    write_json(record_of(first) / "record.json", whole)
    adapted = {"verb": "adapt", "config": {"task": str(first)}, "task_fingerprint": made_by}
    write_json(record, adapted | {"fingerprint": made_by})
    assert len(labelled_behind(found, made_by).cases) == 2
    write_json(record, whole)


def test_a_record_of_another_task_says_nothing_of_true_labels(found: Path, task_file: Path) -> None:
    made_by = read_results(found).task
    record = record_of(task_file) / "record.json"
    whole = read_json(record)
    write_json(record, whole | {"fingerprint": "0" * 64})  # as after `mv new.task x.task`
    behind = labelled_behind(found, made_by)
    assert not behind.cases
    assert "no record of how it was made" in behind.notes[0]
    write_json(record, {key: one for key, one in whole.items() if key != "fingerprint"})
    assert len(labelled_behind(found, made_by).cases) == 2  # as earlier versions wrote it
    write_json(record, whole)


def test_tasks_of_any_ending_have_records_of_their_own() -> None:
    names = ("x.task", "ct.liver", "ct.aorta", "x")
    found = {record_of(Path("folder") / name).name for name in names[1:]}
    assert found == {"ct.liver.task-record", "ct.aorta.task-record", "x.task-record"}
    assert record_of(Path("folder/x.task")) == Path("folder/x.task-record")


def test_a_finetuned_model_gives_the_labels_that_it_has_seen(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    mass3d.finetune(
        images=[cohort],
        model=trained,
        output=tmp_path / "tuned",
        labels=1,
        validation=1,
        fit={"steps": 1},
        views={"crop_vox": (32, 32, 32)},
        device="cpu",
    )
    seen = read_json(tmp_path / "tuned" / "record.json")
    mass3d.segment(
        inputs=[cohort / "imagesTr"], model=tmp_path / "tuned", output=tmp_path / "found"
    )
    report = export(tmp_path / "found", tmp_path / "Dataset501_X", raw={"images": "copy"})
    assert report.ok
    listed = read_json(report.output / "cases.json")["cases"]
    true = [name for name, case in listed.items() if case["label"] == "true"]
    assert sorted(true) == sorted([*seen["training"], *seen["validation"]])
    assert read_json(report.output / "dataset.json")["labels"] == {"background": 0, **STRUCTURES}
    for name in true:
        truth = np.asarray(nib.load(cohort / "labelsTr" / f"{name}.nii.gz").dataobj)
        written = np.asarray(nib.load(report.output / "labelsTr" / f"{name}.nii.gz").dataobj)
        assert (written == truth).all()
    assert sorted(listed) == sorted([*NAMES, *OTHERS])


def test_settings_of_another_purpose_and_folders_of_others_are_refused(
    found: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="settings of a raw dataset for an export to the hub"):
        mass3d.export(model=trained, output=tmp_path / "x", raw={"images": "copy"})
    mass3d.export(model=trained, output=tmp_path / "Dataset501_Hub")
    with pytest.raises(ConfigError, match="an export to the hub"):
        export(found, tmp_path / "Dataset501_Hub")
    with pytest.raises(ConfigError, match="Call it Dataset501_x"):
        export(found, tmp_path / "x")
    mine = tmp_path / "Dataset501_Mine" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    with pytest.raises(ConfigError, match="notes"):
        export(found, mine.parent)
    assert [path.name for path in mine.parent.iterdir()] == ["notes.txt"]
