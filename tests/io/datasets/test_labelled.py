from __future__ import annotations

import json
from pathlib import Path

import pytest

from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.labelled import find_labelled, find_tests


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
