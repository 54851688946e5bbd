from pathlib import Path

import pytest

from mass3d.errors import ConfigError
from mass3d.io.datasets.mask_files import find_mask_files, mask_files_id, require_folders


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def found(folder: Path, case_id: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_mask_files((folder,), case_id)]


def test_masks_of_a_case_are_a_label_map_a_folder_or_both(tmp_path: Path) -> None:
    files(tmp_path, "a.nii.gz", "b/liver.nii.gz", "b/aorta.nrrd", "b/notes.txt", "b/.hidden.nii")
    files(tmp_path, "e.NII.GZ")
    assert found(tmp_path, "e") == ["e.NII.GZ"]
    files(tmp_path, "c.mha", "c/one.nii", "other.nii.gz")
    assert found(tmp_path, "a") == ["a.nii.gz"]
    assert found(tmp_path, "b") == ["b/aorta.nrrd", "b/liver.nii.gz"]
    assert found(tmp_path, "c") == ["c.mha", "c/one.nii"]
    assert found(tmp_path, "d") == []


def test_a_scan_beside_its_segmentations_is_no_mask(tmp_path: Path) -> None:
    files(tmp_path, "s1/ct.nii.gz", "s1/segmentations/liver.nii.gz")
    assert found(tmp_path, "s1") == ["s1/segmentations/liver.nii.gz"]


def test_several_folders_are_read_in_their_order(tmp_path: Path) -> None:
    one, two = files(tmp_path / "1", "a.nii"), files(tmp_path / "2", "a.nii")
    assert find_mask_files((two, one), "a") == [two / "a.nii", one / "a.nii"]


def test_the_id_of_files_goes_by_content_and_name_not_by_place(tmp_path: Path) -> None:
    here, there = files(tmp_path / "1", "a.nii"), files(tmp_path / "2", "a.nii")
    first = mask_files_id([here / "a.nii"])
    assert mask_files_id([there / "a.nii"]) == first
    (there / "a.nii").write_text("other")
    assert mask_files_id([there / "a.nii"]) != first
    assert mask_files_id([]) != first


def test_folders_that_are_missing_or_not_named_are_refused(tmp_path: Path) -> None:
    require_folders((tmp_path,))
    with pytest.raises(ConfigError, match=r"found no folder; .* Name the folder of masks"):
        require_folders(())
    with pytest.raises(ConfigError, match=r"none, which is not a folder; .* Check the path"):
        require_folders((tmp_path, tmp_path / "none"))
