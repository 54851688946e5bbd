from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.io.names import LABEL, case_id_of


@pytest.mark.parametrize(
    ("name", "case_id"),
    [
        ("liver_001.nii.gz", "liver_001"),
        ("liver_001_0000.nii.gz", "liver_001"),
        ("liver_001_0001.nii.gz", "liver_001_0001"),
        ("liver_001_00001.nii.gz", "liver_001_00001"),
        ("Scan.NII.GZ", "Scan"),
        ("a.b.mha", "a.b"),
        ("a.nhdr", "a"),
        ("a.nii.gz.mhd", "a.nii.gz"),
        ("IM-0001.dcm", "IM-0001.dcm"),
        ("_0000.nii.gz", "_0000"),
        ("noname", "noname"),
    ],
)
def test_a_case_is_called_like_its_file_without_format_and_channel(name: str, case_id: str) -> None:
    assert case_id_of(Path("folder.nii") / name) == case_id


def test_the_folder_that_one_is_in_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patient 7" / "ct").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "patient 7" / "ct")
    assert case_id_of(Path()) == "ct"
    assert case_id_of(Path("..")) == "patient 7"


@pytest.mark.parametrize(
    ("stem", "scan"),
    [
        ("x_seg", "x"),
        ("x.seg", "x"),
        ("x-label", "x"),
        ("X_Labels", "X"),
        ("x_0000_mask", "x_0000"),
        ("x_dseg", "x"),
        ("cardiac_gt", "cardiac"),
        ("Segmentation", None),
        ("mask", None),
    ],
)
def test_an_ending_names_a_label_and_its_scan(stem: str, scan: str | None) -> None:
    found = LABEL.fullmatch(stem)
    assert found is not None
    assert found["scan"] == scan


@pytest.mark.parametrize("stem", ["x", "xseg", "segx", "seg_x", "x_segments", "mask1", "gtx", "x_"])
def test_other_names_are_of_scans(stem: str) -> None:
    assert LABEL.fullmatch(stem) is None
