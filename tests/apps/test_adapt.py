"""A task adapted to a folder of scans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mass3d.apps import adapt, segment, task
from mass3d.errors import ConfigError, DataError
from mass3d.transfer.task_file import load_task

FEW = {"channels": (4, 8), "window_vox": 16, "steps": 2, "further_steps": 2, "judges": 1}
QUICK = {"views": 2, "held_out": 1, "voxels_per_view": 500, "steps": 5, "batch": 256}


@pytest.fixture(scope="module")
def scans(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example and five more CT scans, of which four are copies under other names."""
    folder = tmp_path_factory.mktemp("ct")
    for name in ("imagesTr/ct_000", "imagesTr/ct_002", "imagesTs/ct_test_000"):
        shutil.copy(cohort / f"{name}_0000.nii.gz", folder / f"{Path(name).name}.nii.gz")
    for number in range(3):
        shutil.copy(folder / "ct_002.nii.gz", folder / f"ct_again{number}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def task_file(
    cohort: Path, scans: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "organs.task"
    config = task.TaskConfig.model_validate(
        {
            "images": [scans / "ct_000.nii.gz"],
            "labels": [cohort / "labelsTr/ct_000.nii.gz"],
            "model": trained,
            "output": path,
            "device": "cpu",
            "tuning": QUICK,
        }
    )
    assert task.run(config).ok
    return path


def adapt_config(scans: Path, task_file: Path, output: Path, **more: object) -> adapt.AdaptConfig:
    values = {"inputs": (scans,), "task": task_file, "output": output, "adaptation": FEW}
    return adapt.AdaptConfig.model_validate(values | {"device": "cpu"} | more)


def test_an_adapted_task_segments_as_any_other(
    scans: Path, task_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "adapted.task"
    report = adapt.run(adapt_config(scans, task_file, output))
    assert report.ok
    task_before, task_after = load_task(task_file), load_task(output)
    assert task_after.structures == task_before.structures
    assert task_after.fingerprint != task_before.fingerprint
    record = json.loads((tmp_path / "adapted.task-record/record.json").read_text())
    assert record["adapted"] == report.structures
    trusted = {one["name"] for one in record["trusted"]}
    left_out = {one["name"] for one in record["left_out"]}
    assert len(trusted) >= 3
    names = {path.name.removesuffix(".nii.gz") for path in scans.iterdir()}
    assert trusted | left_out == names - {"ct_000"}
    assert f"{len(trusted)} scans trusted, {len(left_out)} left out" in report.summary()
    assert not (tmp_path / "adapted.task-record/answers").exists()
    found = segment.run(
        segment.SegmentConfig(
            inputs=(scans / "ct_test_000.nii.gz",),
            task=output,
            output=tmp_path / "found",
            device="cpu",
        )
    )
    assert found.ok


def test_the_same_scans_give_the_same_bytes(scans: Path, task_file: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        adapt.run(adapt_config(scans, task_file, tmp_path / f"{name}.task"))
    one, other = (tmp_path / f"{name}.task" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_scan_that_cannot_be_read_is_named(scans: Path, task_file: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    (tmp_path / "scans/broken.nii.gz").write_bytes(b"rubbish")
    report = adapt.run(adapt_config(tmp_path / "scans", task_file, tmp_path / "x.task"))
    assert not report.ok
    assert ["broken" in fault.where for fault in report.faults] == [True]


def test_label_maps_are_not_learned_from(
    cohort: Path, scans: Path, task_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    shutil.copy(cohort / "labelsTr/ct_002.nii.gz", tmp_path / "scans/other.nii.gz")
    report = adapt.run(adapt_config(tmp_path / "scans", task_file, tmp_path / "x.task"))
    (fault,) = report.faults
    assert "as in a label map" in fault.message


def test_without_the_scan_of_the_example_it_says_so(
    scans: Path, task_file: Path, tmp_path: Path
) -> None:
    config = adapt_config(scans, task_file, tmp_path / "x.task")
    rest = tuple(path for path in scans.iterdir() if path.name != "ct_000.nii.gz")
    with pytest.raises(DataError, match="no scan of this reference"):
        adapt.run(config.model_copy(update={"inputs": rest}))
    assert not (tmp_path / "x.task").exists()


def test_the_task_itself_is_not_overwritten(scans: Path, task_file: Path) -> None:
    before = task_file.read_bytes()
    with pytest.raises(ConfigError, match="also an input"):
        adapt.run(adapt_config(scans, task_file, task_file))
    assert task_file.read_bytes() == before
