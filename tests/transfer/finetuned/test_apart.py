"""Subjects stay whole, and what is scored though it was learned from is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import ConfigError
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled, map_at
from mass3d.io.write import write_file_order
from mass3d.transfer.finetuned.apart import last_whole, seen_before, subjects_of
from mass3d.transfer.finetuned.scans import split


def called(*names: str) -> list[CaseFile]:
    return [CaseFile(name, Path("data", "imagesTr", f"{name}.nii.gz")) for name in names]


SESSIONS = called(*(f"sub-{subject:02}_ses-{n}" for subject in range(8) for n in (1, 2, 3)))


def test_a_subject_is_told_by_the_id_the_file_or_a_folder_below_all_scans() -> None:
    assert subjects_of(called("sub-01_ses-1", "sub-01", "sub-2.x", "patient_sub-3", "sub-_x")) == [
        *("sub-01", "sub-01", "sub-2", None, None)
    ]
    top = Path("sub-study")
    files = ("a/sub-A1_T1w.nii", "sub-B2/ses-1/one.nii", "sub-cut off/two.nii", "sub-C_ses-2")
    cases = [CaseFile(str(number), top / file) for number, file in enumerate(files)]
    assert subjects_of(cases) == ["sub-A1", "sub-B2", None, "sub-C"]
    assert subjects_of(cases[:1]) == ["sub-A1"]
    assert subjects_of([]) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("validation", "apart"), [(None, 6), (1, 3), (3, 3), (7, 9), (0, 0)])
def test_scans_of_a_subject_are_on_one_side_of_every_split(
    seed: int, validation: int | None, apart: int
) -> None:
    parts = split(SESSIONS, "all", validation=validation, seed=seed)
    assert len(parts.validation) == apart
    assert len(parts.training) + apart == len(SESSIONS)
    sides = [set(subjects_of(part)) for part in parts]
    assert not sides[0] & sides[1]
    fewer = split(SESSIONS, 4, validation=validation, seed=seed)
    assert fewer.validation == parts.validation
    assert {*fewer.training} < {*parts.training}


def test_scans_without_a_subject_are_drawn_one_by_one() -> None:
    assert last_whole([2, 0, 3, 1], [None] * 4, at_least=2) == {3, 1}
    assert last_whole([2, 0, 3, 1], ["a", None, "a", None], at_least=2) == {1, 3}
    assert last_whole([2, 0, 3, 1], ["a", None, "a", "b"], at_least=2) == {1, 3}
    assert last_whole([1, 3, 2, 0], ["a", None, "a", "b"], at_least=1) == {0, 2}


def test_one_subject_cannot_be_split() -> None:
    one = called(*(f"sub-01_ses-{number:02}" for number in range(12)))
    parts = split(one, "all", validation=None, seed=0)
    assert (len(parts.training), parts.validation) == (12, ())
    with pytest.raises(ConfigError, match="12 of them kept apart, as subjects stay whole"):
        split(one, 1, validation=2, seed=0)


def test_a_copy_among_the_scored_scans_is_told(cohort: Path, tmp_path: Path) -> None:
    cases = find_labelled([cohort])
    copy = Path(shutil.copy(cases[1].path, tmp_path / "other.nii.gz"))
    scored = [CaseFile("other", copy), cases[0]]
    assert list(seen_before(cases[1:], scored)) == [
        f"other is the same scan as {cases[1].case_id} that was learned from (1 such scan): "
        "Dice is too good there"
    ]
    assert not [*seen_before(cases[1:], cases[:1]), *seen_before(cases, ())]


def test_a_subject_of_the_test_part_that_was_learned_from_is_told(tmp_path: Path) -> None:
    for number, name in enumerate(("sub-1_ses-1", "sub-1_ses-2", "sub-2", "plain")):
        (tmp_path / f"{name}.nii.gz").write_bytes(bytes([number]))
    cases = [CaseFile(path.name[:-7], path) for path in sorted(tmp_path.iterdir())]
    plain, first, second, other = cases
    assert list(seen_before([first, plain], [second, other])) == [
        "sub-1_ses-2 is of sub-1, as sub-1_ses-1 that was learned from (1 such scan): "
        "Dice may be too good"
    ]


def empty(folder: Path, *names: str) -> Path:
    """Files without content: what belongs together is told by names."""
    for name in names:
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def channels(folder: Path, patients: int, named: Sequence[str] | None) -> Path:
    """A raw dataset of two channels, of which dataset.json names some."""
    if named is not None:
        folder.mkdir(parents=True)
        table = {"channel_names": dict(enumerate(named)), "labels": {"background": 0, "x": 1}}
        (folder / "dataset.json").write_text(json.dumps(table))
    for patient in range(patients):
        scans = (f"imagesTr/P_{patient:03}_000{channel}" for channel in range(2))
        empty(folder, *scans, f"labelsTr/P_{patient:03}")
    return folder


@pytest.mark.parametrize("named", [None, [], ["MRI"], ["T1", "T2"]])
def test_channels_of_one_patient_are_on_one_side_of_every_split(
    tmp_path: Path, named: Sequence[str] | None
) -> None:
    """Found: without names in dataset.json every channel was drawn by itself, label and all."""
    cases = find_labelled([channels(tmp_path / "data", 6, named)])
    assert len(cases) == 12
    assert sorted({*filter(None, subjects_of(cases))}) == [f"P_{n:03}" for n in range(6)]
    for seed in range(5):
        parts = split(cases, "all", validation=3, seed=seed)
        training, validation = (
            {case.path.name[:5] for case in part} for part in (parts.training, parts.validation)
        )
        assert (len(parts.training), len(parts.validation)) == (8, 4)
        assert not training & validation


def test_scans_beside_one_label_are_of_one_subject(tmp_path: Path) -> None:
    names = [f"{name}_{end}" for name in ("P1", "P2") for end in ("T1", "T2", "seg")]
    cases = find_labelled([empty(tmp_path, *names)])
    assert [case.case_id for case in cases] == ["P1_T1", "P1_T2", "P2_T1", "P2_T2"]
    assert subjects_of(cases) == ["P1_T1", "P1_T1", "P2_T1", "P2_T1"]
    first = replace(cases[2], label=cases[0].label, case_id="sub-01")
    joined = subjects_of([cases[0], first, cases[1], cases[3]])
    assert joined == [*["sub-01"] * 3, None]  # through a third one


def test_links_to_one_empty_label_and_a_label_of_all_scans_say_nothing(tmp_path: Path) -> None:
    """As of patients without a tumour, and of scans on the grid of a template."""
    cases = called("a", "b", "c")
    nothing = empty(tmp_path, "nothing") / "nothing.nii.gz"
    links = [tmp_path / f"{case.case_id}_seg.nii.gz" for case in cases]
    for link in links[:2]:
        link.symlink_to(nothing)
    linked = [replace(case, label=map_at(link)) for case, link in zip(cases, links, strict=True)]
    assert subjects_of(linked) == [None] * 3
    assert subjects_of([replace(case, label=map_at(nothing)) for case in cases]) == [None] * 3


def test_numbers_of_patients_are_no_channels(tmp_path: Path) -> None:
    """As AMOS names its files: with one stem, and a label of each."""
    names = [f"{folder}/amos_{n:04}" for folder in ("imagesTr", "labelsTr") for n in range(12)]
    cases = find_labelled([empty(tmp_path, *names)])
    assert subjects_of(cases) == [None] * 12
    assert len(split(cases, "all", validation=None, seed=0).validation) == 2


def test_numbered_scans_with_a_label_each_are_of_one_subject(tmp_path: Path) -> None:
    ends = [f"{name}_000{number}" for name in "ab" for number in range(2)]
    cases = find_labelled([empty(tmp_path, *ends, *(f"{end}_seg" for end in ends))])
    assert subjects_of(cases) == ["a", "a", "b", "b"]


def test_cases_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    cases = [case for n in "ab" for case in find_labelled([channels(tmp_path / n, 1, None)])]
    found = subjects_of(cases)
    assert found[0] == found[1] == "P_000"
    assert found[2] == found[3] == f"P_000 of {tmp_path / 'b' / 'imagesTr'}"


def test_a_label_that_was_learned_from_is_told_unless_it_is_empty(tmp_path: Path) -> None:
    cases = []
    for number, name in enumerate(("first", "again", "none", "none too")):
        image = np.full((4, 4, 4), number, np.float32)
        write_file_order(tmp_path / f"{name}.nii.gz", image, np.eye(4))
        label = np.full((4, 4, 4), name in ("first", "again"), np.uint8)
        write_file_order(tmp_path / "labels" / f"{name}.nii.gz", label, np.eye(4))
        label_map = map_at(tmp_path / "labels" / f"{name}.nii.gz")
        cases.append(CaseFile(name, tmp_path / f"{name}.nii.gz", label=label_map))
    first, again, none, other = cases
    assert list(seen_before([first, none], [again, other])) == [
        "again has the label of first that was learned from (1 such scan): Dice is too good there"
    ]
    shared = replace(other, label=none.label)
    assert list(seen_before([first, none], [shared])) == [
        "none too is of none, as none that was learned from (1 such scan): Dice may be too good"
    ]
