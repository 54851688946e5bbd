from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from dicoms import series
from mass3d.files import file_hash
from mass3d.io.datasets.cohort import CaseFile, Channel, find_cases
from mass3d.io.datasets.source import (
    image_hash,
    named_modality,
    scan_hash,
    seen_hash,
    source_hash,
)
from scans import itk_image, voxels, write_detached


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("data", ["scan.raw", "other.raw", "part [2].bin", "below/vox?.raw", "vöx"])
def test_a_changed_file_that_the_header_names_changes_the_hash(
    tmp_path: Path, suffix: str, data: str
) -> None:
    header = tmp_path / f"scan{suffix}"
    written = write_detached(header, itk_image(), data)
    before = source_hash(CaseFile("scan", header))
    (tmp_path / "scan.txt").write_text("no part of it")
    assert source_hash(CaseFile("scan", header)) == before
    written.write_bytes(voxels(seed=5).tobytes())
    assert source_hash(CaseFile("scan", header)) != before


def test_what_a_scan_is_prepared_by_goes_by_its_name_and_content(tmp_path: Path) -> None:
    found = dict[str, str]()
    for folder in ("scans", "mr", "ct"):
        (tmp_path / folder / "in").mkdir(parents=True)
        path = tmp_path / folder / "in" / "a.nrrd"
        sitk.WriteImage(itk_image(), str(path))
        case = CaseFile("a", path)
        assert named_modality(case) == ("" if folder == "scans" else folder)
        assert source_hash(case) == file_hash(path)
        found[folder] = seen_hash(case)
    assert found["scans"] == file_hash(path)
    assert len({*found.values()}) == 3


def test_names_have_no_say_where_a_tag_or_a_channel_decides(tmp_path: Path) -> None:
    series(tmp_path / "mr")
    (tagged,) = find_cases([tmp_path / "mr"])
    assert tagged.series is not None
    assert named_modality(tagged) == ""
    paths = [tmp_path / "mr" / f"{number}.nrrd" for number in range(2)]
    some = [Channel(number, name, paths[number]) for number, name in enumerate(("CT", "other"))]
    assert named_modality(CaseFile("a", paths[0], channels=tuple(some))) == ",mr"
    assert named_modality(CaseFile("a", paths[0], channels=tuple(some[::-1]))) == "mr,"


def test_a_file_by_itself_has_its_own_hash_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a.nrrd", "a.mha", "a.nii"):
        sitk.WriteImage(itk_image(), str(tmp_path / name))
        assert image_hash(tmp_path / name) == file_hash(tmp_path / name)
    (tmp_path / "b.mhd").write_text("nothing")
    assert image_hash(tmp_path / "b.mhd") == file_hash(tmp_path / "b.mhd")


def test_a_header_is_followed_whatever_its_name_and_missing_files_are_passed_over(
    tmp_path: Path,
) -> None:
    data = write_detached(tmp_path / "a.nhdr", itk_image(), "x.raw")
    header = (tmp_path / "a.nhdr").rename(tmp_path / "a.nrrd")
    before = image_hash(header)
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    assert image_hash(header) != before
    data.unlink()
    assert image_hash(header) != before


def test_the_hash_does_not_go_by_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        write_detached(tmp_path / folder / "a.mhd", itk_image(), "v.raw")
    monkeypatch.chdir(tmp_path / "one")
    assert image_hash(Path("a.mhd")) == image_hash(tmp_path / "two" / "a.mhd")


def test_a_scan_named_by_its_path_has_the_hash_of_its_case(tmp_path: Path) -> None:
    first, *_ = series(tmp_path / "series")
    folder = first.parent
    sitk.WriteImage(itk_image(), str(tmp_path / "a.mha"))
    for path in (folder, tmp_path / "a.mha"):
        (case,) = find_cases([path])
        assert scan_hash(path) == source_hash(case)
    before = scan_hash(folder)
    first.rename(first.with_name("other.dcm"))
    assert scan_hash(folder) == before
    (folder / "other.dcm").unlink()
    assert scan_hash(folder) != before
