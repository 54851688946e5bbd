"""Two scans within one series are never made one volume, and one scan is never cut in two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicoms
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.read import read_volume

FIRST = [4.0 * number for number in range(7)]


def two(
    folder: Path,
    offset_mm: float,
    *,
    folders: tuple[str, str] = ("", ""),
    change: Callable[[Dataset, int, int], None],
) -> None:
    """Two sets of slices of one series, `offset_mm` apart; `change` gets the number of the set."""
    for number in range(2):

        def both(ds: Dataset, index: int, number: int = number) -> None:
            ds.SeriesInstanceUID = "1.2.3.4"
            ds.InstanceNumber = index + 1
            change(ds, index, number)

        places = [place + number * offset_mm for place in FIRST]
        there = folder / folders[number]
        for path in dicoms.series(there / "x", places, modality="MR", seed=number, change=both):
            path.rename(there / f"{number}{path.name}")
        (there / "x").rmdir()


def steps(folder: Path) -> list[tuple[int, float]]:
    """Slices and the step between them, of every scan."""
    volumes = [read_volume(case.scan) for case in find_cohort([folder]).cases]
    return [(volume.grid.shape[0], round(volume.spacing_mm[0], 3)) for volume in volumes]


BETWEEN = (2.0, 1.7, 14.0, 28.0, 40.0)  # halfway, uneven, half over, end to end, far away


@pytest.mark.parametrize("offset_mm", BETWEEN)
@pytest.mark.parametrize("folders", [("", ""), ("a", "b")])
@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "PatientID"])
def test_patients_and_frames_of_reference_are_apart_wherever_they_lie(
    tmp_path: Path, tag: str, folders: tuple[str, str], offset_mm: float
) -> None:
    def change(ds: Dataset, index: int, number: int) -> None:
        setattr(ds, tag, f"1.2.{number}")
        ds.InstanceNumber = index + 1 + number * len(FIRST)

    two(tmp_path, offset_mm, folders=folders, change=change)
    assert steps(tmp_path) == [(7, 4.0)] * 2


@pytest.mark.parametrize("offset_mm", [2.0, 1.3])
def test_acquisitions_between_each_other_are_apart(tmp_path: Path, offset_mm: float) -> None:
    def change(ds: Dataset, index: int, number: int) -> None:
        ds.AcquisitionNumber = number + 5
        ds.InstanceNumber = index + 1 + number * len(FIRST)

    two(tmp_path, offset_mm, change=change)
    assert steps(tmp_path) == [(7, 4.0)] * 2
    assert [case.case_id[-2:] for case in find_cohort([tmp_path]).cases] == ["t1", "t2"]


def test_acquisitions_one_behind_the_other_are_one_scan(tmp_path: Path) -> None:
    def change(ds: Dataset, index: int, number: int) -> None:
        ds.AcquisitionNumber = number + 1
        ds.InstanceNumber = index + 1 + number * len(FIRST)

    two(tmp_path, 28.0, change=change)
    assert steps(tmp_path) == [(14, 4.0)]


def test_concatenations_with_running_numbers_are_one_scan(tmp_path: Path) -> None:
    def change(ds: Dataset, index: int, number: int) -> None:
        ds.AcquisitionNumber = number + 1
        ds.InstanceNumber = 2 * index + number + 1

    two(tmp_path, 2.0, folders=("a", "b"), change=change)
    assert steps(tmp_path) == [(14, 2.0)]


@pytest.mark.parametrize("offset_mm", [2.0, 28.0])
@pytest.mark.parametrize("tag", ["", "EchoTime", "AcquisitionNumber"])
def test_repeated_instance_numbers_are_of_two_scans(
    tmp_path: Path, tag: str, offset_mm: float
) -> None:
    def change(ds: Dataset, index: int, number: int) -> None:
        if tag:
            setattr(ds, tag, number + 1)

    two(tmp_path, offset_mm, folders=("", "") if tag else ("a", "b"), change=change)
    assert steps(tmp_path) == [(7, 4.0)] * 2


def test_repeated_instance_numbers_that_nothing_explains_are_refused(tmp_path: Path) -> None:
    two(tmp_path, 2.0, change=lambda ds, index, number: None)
    (case,) = find_cohort([tmp_path]).cases
    with pytest.raises(DataError, match="7 instance numbers at several places"):
        read_volume(case.scan)


def test_identifiers_that_differ_from_file_to_file_tell_nothing(tmp_path: Path) -> None:
    def change(ds: Dataset, index: int) -> None:
        ds.FrameOfReferenceUID, ds.PatientID = f"1.2.{index}", f"P{index}"
        ds.AcquisitionNumber = index

    dicoms.series(tmp_path, FIRST, change=change)
    assert steps(tmp_path) == [(7, 4.0)]


def test_equal_identifiers_with_other_pixels_are_no_copies(tmp_path: Path) -> None:
    def same(ds: Dataset, index: int) -> None:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3.4", f"1.2.5.{index + 1}"

    dicoms.series(tmp_path / "a", FIRST, seed=1, change=same)
    dicoms.series(tmp_path / "b", FIRST, seed=1, change=same)
    cohort = find_cohort([tmp_path])
    assert len(cohort.cases) == 1
    assert [(entry.reason, entry.files) for entry in cohort.left_out] == [
        ("a copy of another slice", 7)
    ]
    dicoms.series(tmp_path / "b", FIRST, seed=2, change=same)
    cases = find_cohort([tmp_path]).cases
    assert [case.case_id for case in cases] == ["a", "b"]
    one, other = (read_volume(case.scan).voxels for case in cases)
    assert one.shape == other.shape
    assert (one != other).any()


def test_a_copy_compressed_in_another_way_is_one(tmp_path: Path) -> None:
    def same(ds: Dataset, index: int) -> None:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3.4", f"1.2.5.{index + 1}"

    dicoms.series(tmp_path / "a", FIRST, change=same)
    dicoms.series(tmp_path / "b", FIRST, change=same, compressed=True)
    assert len(find_cohort([tmp_path]).cases) == 1


def test_other_pixels_in_one_folder_are_a_fault_with_both_names(tmp_path: Path) -> None:
    def same(ds: Dataset, index: int) -> None:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3.4", f"1.2.5.{index + 1}"

    for seed in range(2):
        for path in dicoms.series(tmp_path / str(seed), FIRST, seed=seed, change=same):
            path.rename(tmp_path / f"{seed}-{path.name}")
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path)
    assert "0-" in caught.value.found
    assert "1-" in caught.value.where


@pytest.mark.parametrize("degrees", [0.06, 0.3, 0.8])
def test_a_little_turn_from_slice_to_slice_is_taken_out_and_noted(
    tmp_path: Path, degrees: float
) -> None:
    turns = np.radians(degrees) * np.random.default_rng(4).uniform(-1, 1, 12)

    def turn(ds: Dataset, index: int) -> None:
        a = turns[index]
        ds.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(a), 6), round(np.sin(a), 6)]

    dicoms.series(tmp_path, [3.0 * n for n in range(12)], change=turn)
    assert len(find_cohort([tmp_path]).cases) == 1
    volume = read_volume(tmp_path)
    assert volume.grid.shape[0] == 12
    assert "mean orientation" in volume.repairs[0]


def test_slices_turned_by_more_are_refused_not_lost(tmp_path: Path) -> None:
    def turn(ds: Dataset, index: int) -> None:
        a = np.radians(2.5) * (index % 2)
        ds.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(a)), float(np.sin(a))]

    dicoms.series(tmp_path, FIRST, change=turn)
    with pytest.raises(DataError, match=r"turned against each other by up to 1\.\d+ degrees"):
        read_volume(tmp_path)
