from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import dicoms
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import (
    CaseFile,
    find_cases,
    find_cohort,
    find_label,
    label_maps,
)
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.datasets.prepared import STORE
from mass3d.io.formats.sniff import is_dicom
from mass3d.io.left_out import LeftOut
from mass3d.io.names import SUFFIXES
from mass3d.store.schema import INDEX
from scans import itk_image, write_detached

DICOM = bytes(128) + b"DICM" + bytes(100)


def touch(folder: Path, *names: str, content: bytes = b"x") -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


def test_scans_are_found_at_any_depth_in_any_format_sorted_by_case(tmp_path: Path) -> None:
    names = [f"{i}/deep er/case{9 - i}{suffix}" for i, suffix in enumerate(SUFFIXES)]
    paths = touch(tmp_path, *names)
    touch(tmp_path, "notes.txt", "case0.raw", "case1.json", "x.nii.gz.md5")
    ids = [f"{i}_deep-er_case{9 - i}" for i in range(len(SUFFIXES))]
    assert find_cases([tmp_path]) == [CaseFile(*pair) for pair in zip(ids, paths, strict=True)]


def test_hidden_files_are_passed_over_unless_they_are_named(tmp_path: Path) -> None:
    hidden = touch(tmp_path, ".a.nii", ".hidden/b.nii", "._c.nii.gz")
    (seen,) = touch(tmp_path, "d.nii")
    assert [case.path for case in find_cases([tmp_path])] == [seen]
    assert [case.path for case in find_cases(hidden[:1])] == hidden[:1]


def test_a_cohort_in_a_hidden_folder_is_found(tmp_path: Path) -> None:
    (path,) = touch(tmp_path / ".cache", "a.nii")
    assert [case.path for case in find_cases([tmp_path / ".cache"])] == [path]


def test_files_that_are_named_are_taken_whatever_their_name(tmp_path: Path) -> None:
    paths = touch(tmp_path, "scan", "IM1.dcm")
    assert {case.path for case in find_cases(paths)} == set(paths)


def test_files_and_folders_may_be_mixed(tmp_path: Path) -> None:
    inside, outside = touch(tmp_path, "in/a.nii", "b.nii")
    found = find_cases([tmp_path / "in", outside])
    assert [case.path for case in found] == [inside, outside]


def test_one_file_named_twice_is_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = touch(tmp_path, "in/a.nii")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    ways = [tmp_path / "in", path, Path("in"), Path("in/a.nii"), tmp_path / "link" / "a.nii"]
    assert [case.case_id for case in find_cases(ways)] == ["a"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.nii", "a.nii.gz"),
        ("a.nii.gz", "a_0000.nii.gz"),
        ("imagesTr/a.mha", "imagesTs/a.mha"),
        ("a.nii", "a.NII"),
    ],
)
def test_two_cases_of_one_name_are_refused_by_both_paths(
    tmp_path: Path, first: str, second: str
) -> None:
    paths = touch(tmp_path, first, second)
    with pytest.raises(DataError) as caught:
        find_cases([tmp_path])
    told = caught.value
    assert "a second scan of the case 'a'" in told.found
    assert {told.where, told.found.rpartition("the first is ")[2]} == set(map(str, paths))
    assert told.expected == "one file per case"
    assert told.fix.startswith("Rename one of them")


def test_folders_whose_cases_clash_are_told_to_be_given_by_the_one_above(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mha", "y/a.mha")
    with pytest.raises(DataError) as caught:
        find_cases([tmp_path / "x", tmp_path / "y"])
    assert caught.value.fix == (
        "Rename one of them, or give the folder above both as one input: then ids name the folders."
    )
    assert [case.case_id for case in find_cases([tmp_path])] == ["x_a", "y_a"]


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    with pytest.raises(DataError) as caught:
        find_cases([tmp_path, tmp_path / "nowhere"])
    told = caught.value
    assert told.where == str(tmp_path / "nowhere")
    assert told.found == "no such file or folder"
    assert told.expected == f"a scan ({', '.join(SUFFIXES)}, DICOM, .zip) or a folder of scans"
    assert told.fix == "Check the path."


def test_a_broken_link_is_a_case_and_fails_when_it_is_read(tmp_path: Path) -> None:
    """Data sets under git-annex are full of them: passing them over would lose scans."""
    touch(tmp_path, "a.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "not fetched")
    assert [case.case_id for case in find_cases([tmp_path])] == ["a", "b"]


def test_folders_without_a_scan_are_refused_by_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        touch(tmp_path / folder, "notes.txt")
    with pytest.raises(DataError) as caught:
        find_cases([tmp_path / "a", tmp_path / "b"])
    told = caught.value
    assert told.where == f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    assert told.found == "no scan"
    assert told.expected == (
        f"files named {', '.join(SUFFIXES)}, DICOM series, or archives (.zip) of them"
    )
    assert told.fix == (
        "Check the path; files that are named one by one are taken whatever their name."
    )


def test_a_store_stands_for_the_scans_that_it_was_made_of(
    store: Path, cohort: Path, tmp_path: Path
) -> None:
    wanted = find_cohort([cohort / "imagesTr"])
    assert find_cohort([store]) == wanted
    assert [case.case_id for case in find_labelled([store])] == [
        case.case_id for case in find_labelled([cohort / "imagesTr"])
    ]
    (other,) = touch(tmp_path, "other.nii.gz")
    both = find_cohort([tmp_path, store])
    assert {case.path for case in both.cases} == {other, *(case.path for case in wanted.cases)}
    with pytest.raises(DataError, match="a prepared store, which holds no files of scans"):
        label_maps(store)
    assert STORE == INDEX


def stored(folder: Path, *inputs: Path, cases: Sequence[str]) -> Path:
    """What a store says of its scans."""
    folder.mkdir()
    record = {"config": {"inputs": [str(path) for path in inputs]}}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / STORE).write_text(json.dumps({"cases": {name: {} for name in cases}}))
    return folder


def test_scans_beside_those_of_a_store_are_left_out_and_told(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "scans", "a.nii", "b.nii")
    found = find_cohort([stored(tmp_path / "store", tmp_path / "scans", cases=["a"])])
    assert [case.path for case in found.cases] == [first]
    assert found.left_out == (LeftOut(second, "a scan that the store does not hold"),)


def test_a_store_that_was_made_of_a_store_stands_for_the_same_scans(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "a.nii", "b.nii")
    first = stored(tmp_path / "first", tmp_path / "scans", cases=["a", "b"])
    second = stored(tmp_path / "second", first, cases=["a", "b"])
    assert find_cohort([second]) == find_cohort([tmp_path / "scans"])
    (first / "record.json").write_text(json.dumps({"config": {"inputs": [str(second)]}}))
    with pytest.raises(DataError, match="a prepared store that was made of itself"):
        find_cohort([second])


def test_a_store_whose_scans_cannot_be_had_says_what_to_give(tmp_path: Path) -> None:
    touch(tmp_path / "scans", "a.nii")
    more = stored(tmp_path / "more", tmp_path / "scans", cases=["a", "b", "c"])
    moved = stored(tmp_path / "moved", tmp_path / "gone", cases=["a"])
    silent = stored(tmp_path / "silent", cases=["a"])
    (silent / "record.json").write_text("[")
    for store, words in (
        (more, "a prepared store with 2 scans of other calls than the last (b, c)"),
        (moved, f"a prepared store, whose scans are not at {tmp_path / 'gone'} any more"),
        (silent, "a prepared store, whose scans are not where a record would tell"),
    ):
        with pytest.raises(DataError) as caught:
            find_cohort([store])
        assert (caught.value.where, caught.value.found) == (str(store), words)
        assert f"mass3d extract {store} -o DIR" in caught.value.fix


def test_dicom_without_content_is_left_out_with_a_reason(tmp_path: Path) -> None:
    first, _ = touch(tmp_path, "CT.1.2.840", "series/IM2.dcm", content=DICOM)
    with pytest.raises(DataError) as caught:
        find_cases([tmp_path])
    reason = "DICOM without an image (no modality)"
    assert caught.value.found.startswith(f"no scan but {first.name}: {reason}")
    (path,) = touch(tmp_path, "a.nii")
    cohort = find_cohort([tmp_path])
    assert [case.path for case in cohort.cases] == [path]
    assert [entry.reason for entry in cohort.left_out] == [reason, reason]


def test_links_to_folders_are_followed_once_and_last(tmp_path: Path) -> None:
    """Data sets are often folders of links; a link may lead round in a circle."""
    touch(tmp_path, "far/a.nii", "near/z/b.nii")
    (tmp_path / "near/linked").symlink_to(tmp_path / "far")
    (tmp_path / "near/again").symlink_to(tmp_path / "near/z")
    (tmp_path / "near/z/circle").symlink_to(tmp_path / "near")
    assert [case.case_id for case in find_cases([tmp_path / "near"])] == ["linked_a", "z_b"]


def test_a_folder_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.nii", "closed/b.nii")
    scandir = os.scandir

    def denied(path: Path) -> object:  # chmod does not stop root, who runs tests in containers
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=r"closed: found a folder that cannot be read"):
        find_cases([tmp_path])


def test_what_lies_in_the_folder_of_results_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "out/a.nii", "out/notes.txt", "output/a.nii")
    cohort = find_cohort([tmp_path], exclude=tmp_path / "output" / ".." / "out")
    assert [case.case_id for case in cohort.cases] == ["a", "output_a"]
    assert cohort.left_out == ()


@pytest.mark.parametrize("record", ['{"verb": "segment"}', '{"verb": "export"}', "{", "[]"])
def test_what_segment_wrote_is_no_scan_unless_its_folder_is_given(
    tmp_path: Path, record: str
) -> None:
    touch(tmp_path, "a.nii", "liver/a.nii", "liver/b.nii")
    (tmp_path / "liver" / "record.json").write_text(record)
    written = "segment" in record
    cohort = find_cohort([tmp_path])
    assert [case.case_id for case in cohort.cases] == (
        ["a"] if written else ["a", "liver_a", "liver_b"]
    )
    told = [entry.files for entry in cohort.left_out if entry.reason == "a segmentation by mass3d"]
    assert told == [2] * written
    assert [case.case_id for case in find_cases([tmp_path / "liver"])] == ["a", "b"]


def test_files_that_are_no_scans_are_left_out_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", ".hidden")
    write_detached(tmp_path / "a.mhd", itk_image(), "a.raw")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    left_out = {entry.path.name: entry.reason for entry in find_cohort([tmp_path]).left_out}
    assert left_out == {
        "notes.txt": "no image by name and content",
        "link": "a file that cannot be read (No such file or directory)",
    }


def test_a_folder_of_dicom_and_a_file_of_one_name_are_refused(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "a")
    touch(tmp_path, "a.nii")
    with pytest.raises(DataError, match="a second scan of the case 'a'"):
        find_cases([tmp_path])


def test_dicom_is_known_by_its_mark(tmp_path: Path) -> None:
    (dicom,) = touch(tmp_path, "scan", content=DICOM)
    (text,) = touch(tmp_path, "text.dcm")
    assert is_dicom(dicom)
    assert not any(map(is_dicom, (text, tmp_path, tmp_path / "nowhere")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_label_is_found_in_any_format(tmp_path: Path, suffix: str) -> None:
    (path,) = touch(tmp_path, f"liver_001{suffix}")
    touch(tmp_path, "liver_002.nii.gz", f"other/liver_003{suffix}")
    assert find_label(tmp_path, "liver_001") == path
    assert find_label(tmp_path, "liver_003") is None


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii", ".NRRD", ".nii.GZ", ".MHA"])
def test_a_label_is_found_whatever_the_case_of_its_ending(tmp_path: Path, ending: str) -> None:
    (path,) = touch(tmp_path, f"Case_7{ending}")
    touch(tmp_path, f"Case_77{ending}", f"case_7b{ending}", f"Case_7{ending}.md5")
    assert find_label(tmp_path, "Case_7") == path
    assert find_label(tmp_path, "Case") is None
    assert find_label(tmp_path / "nowhere", "Case_7") is None
    touch(tmp_path, "Case_7.nhdr")
    with pytest.raises(DataError, match="a second label map"):
        find_label(tmp_path, "Case_7")


def test_every_name_of_one_object_is_a_case_with_its_own_label(tmp_path: Path) -> None:
    touch(tmp_path / "objects", "x.nii", "y.nii", content=b"z")
    for name, target in (("p1", "x"), ("p2", "x"), ("p3", "y"), ("p4", "x")):
        for folder, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
            link = tmp_path / "in" / folder / f"{name}{suffix}.nii"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / "objects" / f"{target}.nii")
    for given in (tmp_path / "in", tmp_path / "in" / "imagesTr"):
        found = find_cohort([given])
        assert [case.case_id for case in found.cases] == ["p1", "p2", "p3", "p4"]
        labels = [case.label.paths[0].name for case in found.cases if case.label]
        assert labels == ["p1.nii", "p2.nii", "p3.nii", "p4.nii"]
    links = sorted((tmp_path / "in" / "imagesTr").iterdir())
    assert [case.path for case in find_cases([*links, links[0]])] == links


def test_files_that_a_header_names_are_part_of_it_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    write_detached(tmp_path / "a.mhd", itk_image(), "voxels[1].raw")
    write_detached(tmp_path / "b.nhdr", itk_image(), "deep/b")
    touch(tmp_path, "a.txt")
    (left_out,) = find_cohort([tmp_path]).left_out
    assert (left_out.path.name, left_out.files) == ("a.txt", 1)


def test_two_label_maps_of_one_case_are_refused(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a.nii.gz", "a.nrrd")
    with pytest.raises(DataError, match="a second label map of the case 'a'") as caught:
        find_label(tmp_path, "a")
    assert caught.value.where == str(paths[1])
    assert caught.value.fix == "Remove or rename one of them."


def test_label_maps_are_called_like_their_files_whatever_the_layout(tmp_path: Path) -> None:
    paths = touch(tmp_path, "labelsTs/a_0000.nii", "fold/b_seg.mha", "labelsTr/c.nrrd")
    touch(tmp_path, "labelsTs/notes.txt", ".hidden.nii")
    assert label_maps(tmp_path) == dict(zip(("a", "b_seg", "c"), paths, strict=True))


def test_label_maps_of_one_name_and_folders_without_any_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.nii", "y/a.nii", "z/notes.txt")
    with pytest.raises(DataError, match="a second scan of the case 'a'"):
        label_maps(tmp_path)
    with pytest.raises(DataError, match="no scan"):
        label_maps(tmp_path / "z")
