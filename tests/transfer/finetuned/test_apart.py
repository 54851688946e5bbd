"""Subjects stay whole, and what is scored though it was learned from is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mass3d.errors import ConfigError
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled
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
