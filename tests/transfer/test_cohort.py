from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mass3d.errors import DataError
from mass3d.files import write_json
from mass3d.phantom import STRUCTURES, write_phantom_cohort
from mass3d.transfer.cohort import choose_cohort


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_cohort(tmp_path_factory.mktemp("raw"), cases=6, test_cases=3, seed=0)


@pytest.fixture
def without_test_folder(raw: Path, tmp_path: Path) -> Path:
    for name in ("imagesTr", "labelsTr"):
        shutil.copytree(raw / name, tmp_path / "raw" / name)
    return tmp_path / "raw"


def test_the_cohort_follows_the_folders_where_there_are_test_scans(raw: Path) -> None:
    cohort = choose_cohort(raw, test_cases=10, seed=0)
    assert len(cohort.training) == 6
    assert [case.case_id for case in cohort.test] == ["ct_test_000", "ct_test_002", "mr_test_001"]
    assert cohort.reference.case_id == "ct_000"
    assert dict(cohort.structures) == STRUCTURES


def test_no_more_test_scans_are_taken_than_asked_and_the_seed_chooses(raw: Path) -> None:
    first = choose_cohort(raw, test_cases=1, seed=0)
    assert len(first.test) == 1
    assert choose_cohort(raw, test_cases=1, seed=0) == first


def test_without_test_scans_some_training_scans_are_held_out_of_everything(
    without_test_folder: Path,
) -> None:
    cohort = choose_cohort(without_test_folder, test_cases=10, seed=1)
    held_out = {case.case_id for case in cohort.test}
    assert len(held_out) == 1
    assert not held_out & {case.case_id for case in cohort.training}
    assert cohort.reference.case_id not in held_out
    assert cohort.reference.case_id in {case.case_id for case in cohort.training}


def test_further_channels_of_a_scan_that_is_held_out_are_held_out_too(
    without_test_folder: Path,
) -> None:
    for image in list((without_test_folder / "imagesTr").iterdir()):
        shutil.copy(image, image.with_name(image.name.replace("_0000", "_0001")))
    channels = {"channel_names": {"0": "T1w", "1": "FLAIR"}, "labels": STRUCTURES}
    write_json(without_test_folder / "dataset.json", channels)
    cohort = choose_cohort(without_test_folder, test_cases=10, seed=1)
    (test,) = cohort.test
    assert test.image.name == f"{test.case_id}_0000.nii.gz"
    assert len(cohort.training) == 2 * 5
    assert not any(case.path.name.startswith(test.case_id) for case in cohort.training)


def test_structures_without_names_are_called_by_their_value(without_test_folder: Path) -> None:
    cohort = choose_cohort(without_test_folder, test_cases=10, seed=1)
    assert cohort.structures == {"1": 1, "2": 2, "3": 3, "4": 4}


def test_scans_without_labels_cannot_be_a_demo(without_test_folder: Path) -> None:
    for label in (without_test_folder / "labelsTr").iterdir():
        label.unlink()
    with pytest.raises(DataError, match="labels for 0 of 6 training scans"):
        choose_cohort(without_test_folder, test_cases=10, seed=0)
