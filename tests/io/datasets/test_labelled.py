from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dicoms
from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.datasets.labelled import find_labelled, find_tests
from mass3d.io.datasets.source import source_hash
from mass3d.io.read import read_volume


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three scans, two of them labelled, and one that is kept for tests."""
    folder = touched(
        tmp_path / "Dataset007",
        *(f"imagesTr/{name}_0000.nii.gz" for name in "cab"),
        "labelsTr/a.nii.gz",
        "labelsTr/c.nii.gz",
        "imagesTs/t_0000.nii.gz",
        "labelsTs/t.nii.gz",
    )
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "spleen": 4}}))
    return folder


def test_of_a_dataset_only_the_labelled_scans_for_training_are_found(dataset: Path) -> None:
    cases = find_labelled([dataset])
    assert [case.case_id for case in cases] == ["a", "c"]
    for case in cases:
        assert case.label is not None
        assert case.label.paths == (dataset / "labelsTr" / f"{case.case_id}.nii.gz",)
        assert case.label.table == dataset / "dataset.json"


def test_scans_kept_for_tests_may_be_asked_for_by_name(dataset: Path) -> None:
    assert [case.case_id for case in find_labelled([dataset / "imagesTs"])] == ["t"]


def test_a_folder_of_labels_names_its_cases(tmp_path: Path) -> None:
    scans = touched(tmp_path / "scans", "x.nii.gz", "y.mha", "z.nrrd")
    labels = touched(tmp_path / "manual", "y.nii.gz", "z.nrrd", "other.nii.gz")
    cases = find_labelled([scans], [labels])
    assert {case.case_id: case.label.paths for case in cases if case.label} == {
        "y": (labels / "y.nii.gz",),
        "z": (labels / "z.nrrd",),
    }


def test_scans_and_labels_one_by_one_belong_together_in_order(dataset: Path) -> None:
    images = [dataset / "imagesTr" / f"{name}_0000.nii.gz" for name in "cb"]
    labels = [dataset / "labelsTr" / "c.nii.gz", dataset / "labelsTr" / "a.nii.gz"]
    cases = find_labelled(images, labels)
    assert [case.case_id for case in cases] == ["b", "c"]
    assert cases[0].label is not None
    assert cases[0].label.paths == (labels[1],)
    assert cases[0].label.table == dataset / "dataset.json"


def test_numbers_that_do_not_match_and_names_given_twice_are_refused(dataset: Path) -> None:
    images = sorted((dataset / "imagesTr").iterdir())
    labels = sorted((dataset / "labelsTr").iterdir())
    with pytest.raises(ConfigError, match="3 images and 2 labels") as caught:
        find_labelled(images, labels)
    assert caught.value.setting == "label_maps"
    other = touched(dataset / "more", "a_0000.nii.gz") / "a_0000.nii.gz"
    with pytest.raises(DataError, match="a second scan of the case 'a'"):
        find_labelled([images[0], other], labels)


def test_series_are_named_one_by_one_as_scans_are(tmp_path: Path) -> None:
    """A folder and an archive; each is the scan that a search for scans finds there."""
    for seed, name in enumerate("pq"):
        dicoms.series(tmp_path / name, seed=seed)
    shutil.make_archive(str(tmp_path / "q"), "zip", tmp_path / "q")
    scans = [tmp_path / "p", tmp_path / "q.zip"]
    labels = [touched(tmp_path, "p.nii.gz") / "p.nii.gz", touched(tmp_path, "q.mha") / "q.mha"]
    cases = find_labelled(scans, labels)
    assert [case.case_id for case in cases] == ["p", "q"]
    for case, scan, label in zip(cases, scans, labels, strict=True):
        (found,) = find_cohort([scan]).cases
        assert source_hash(case) == source_hash(found)
        assert (read_volume(case.scan).voxels == read_volume(found.scan).voxels).all()
        assert case.label is not None
        assert case.label.paths == (label,)


def test_what_is_not_there_or_no_file_is_refused_by_name(dataset: Path) -> None:
    image = dataset / "imagesTr/a_0000.nii.gz"
    label = dataset / "labelsTr/a.nii.gz"
    for scan, truth, told in (
        (
            dataset / "gone.nii.gz",
            label,
            "gone.nii.gz: found no such file or folder; expected a sc",
        ),
        (image, dataset / "gone", "gone: found no such file or folder; expected a label map of ev"),
        (dataset, dataset / "gone", "gone: found no such file or folder; expected a label map of"),
        (dataset / "labelsTr", label, r"labelsTr: found no series .* one DICOM series"),
    ):
        with pytest.raises(DataError, match=told):
            find_labelled([scan], [truth])
    with pytest.raises(DataError, match="labelsTr: found a folder; expected a label map"):
        find_labelled([image, image], [dataset / "labelsTr", label])


def test_without_any_label_it_says_what_is_expected(tmp_path: Path) -> None:
    scans = touched(tmp_path / "scans", "x.nii.gz", "y.nii.gz")
    labels = touched(tmp_path / "manual", "w.nii.gz")
    with pytest.raises(DataError, match=r"no label of any of the 2 scans.*\(x.nii.gz\)"):
        find_labelled([scans], [labels])
    with pytest.raises(DataError, match="in the layout of a dataset"):
        find_labelled([scans])


def test_the_test_part_is_what_is_labelled_of_it(dataset: Path) -> None:
    touched(dataset, "imagesTs/u_0000.nii.gz")
    assert [case.case_id for case in find_tests(dataset)] == ["t"]
    for path in (dataset / "imagesTs").iterdir():
        path.unlink()
    assert find_tests(dataset) == []
    (dataset / "imagesTs").rmdir()
    assert find_tests(dataset) == []
