from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.inspection.label import CountedLabel, Names, count_label, count_values
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.write import write_label
from mass3d.volume.volume import Volume

SCAN = Volume.from_array(np.zeros((6, 8, 10), np.float32), spacing_mm=(2.0, 1.0, 0.5))


def labelled(values: dict[int, int]) -> NDArray[np.uint16]:
    """A label with so many voxels of each value."""
    flat = np.zeros(SCAN.voxels.size, np.uint16)
    start = 0
    for value, count in values.items():
        flat[start : start + count] = value
        start += count
    return flat.reshape(SCAN.voxels.shape)


def see(path: Path, values: dict[int, int], names: dict[str, int] | None) -> CountedLabel:
    write_label(path, labelled(values), SCAN.source)
    return count_label(LabelFiles((path,)), Names(names) if names else None, SCAN)


def test_voxels_and_volumes_are_counted_by_name(tmp_path: Path) -> None:
    seen = see(tmp_path / "a.nii.gz", {1: 7, 3: 20}, {"liver": 3, "cyst": 1, "spleen": 2})
    assert seen.facts.voxels == {"liver": 20, "cyst": 7, "spleen": 0}
    assert seen.facts.ml == pytest.approx({"liver": 0.02, "cyst": 0.007, "spleen": 0})
    assert seen.facts.missing == ("spleen",)
    assert not seen.facts.empty
    assert not seen.faults
    np.testing.assert_array_equal(seen.voxels, labelled({1: 7, 3: 20}))


def test_without_a_table_values_are_their_own_names(tmp_path: Path) -> None:
    seen = see(tmp_path / "a.nii.gz", {4: 5, 11: 1}, None)
    assert seen.facts.voxels == {"4": 5, "11": 1}
    assert see(tmp_path / "b.nii.gz", {}, None).facts.empty


def test_values_that_the_table_does_not_name_are_a_fault_and_still_counted(tmp_path: Path) -> None:
    seen = see(tmp_path / "a.nii.gz", {1: 7, 5: 2, 9: 1}, {"liver": 1})
    (fault,) = seen.faults
    assert "a.nii.gz: found values that dataset.json does not name (5, 9)" in fault
    assert "0 (background), 1 (liver)" in fault
    assert seen.facts.voxels == {"liver": 7, "5": 2, "9": 1}


def test_voxels_that_nobody_has_annotated_are_no_structure_and_no_fault(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nii.gz", labelled({1: 7, 2: 30}), SCAN.source)
    names = Names({"liver": 1}, ignored=2)
    seen = count_label(LabelFiles((tmp_path / "a.nii.gz",)), names, SCAN)
    assert not seen.faults
    assert (seen.facts.voxels, seen.facts.ignored_vox) == ({"liver": 7}, 30)


def test_a_label_on_another_grid_is_refused_with_both_grids(tmp_path: Path) -> None:
    other = Volume.from_array(np.ones((6, 8, 9), np.uint16), spacing_mm=(2.0, 1.0, 0.5))
    write_label(tmp_path / "a.nii.gz", other.voxels, other.source)
    with pytest.raises(DataError, match=r"6 x 8 x 9 voxels.*6 x 8 x 10 voxels"):
        count_label(LabelFiles((tmp_path / "a.nii.gz",)), None, SCAN)


def test_every_mask_of_a_folder_is_read_and_what_overlaps_or_fails_is_told(tmp_path: Path) -> None:
    masks = {"liver": {1: 30}, "cyst": {1: 10}, "empty": {}}
    for name, values in masks.items():
        write_label(tmp_path / f"{name}.nii.gz", labelled(values), SCAN.source)
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    names = (*masks, "broken")
    seen = count_label(
        LabelFiles(tuple(tmp_path / f"{name}.nii.gz" for name in names), names=names), None, SCAN
    )
    assert seen.facts.voxels == {"liver": 30, "cyst": 10, "empty": 0}
    assert seen.facts.overlap_vox == 10
    assert ["broken.nii.gz" in fault for fault in seen.faults] == [True]
    assert count_values(seen.voxels).tolist() == [450, 20, 10]  # the later mask lies on top


def test_masks_that_nobody_wants_are_not_read(tmp_path: Path) -> None:
    """Found: a mask within the wanted one was painted over it, and left a hole."""
    for name, values in {"liver": {1: 30}, "liver_lesion": {1: 10}}.items():
        write_label(tmp_path / f"{name}.nii.gz", labelled(values), SCAN.source)
    (tmp_path / "spleen.nii.gz").write_bytes(b"nothing")
    names = ("liver", "liver_lesion", "spleen")
    files = LabelFiles(tuple(tmp_path / f"{name}.nii.gz" for name in names), names=names)
    seen = count_label(files, Names({"liver": 7, "kidneys": 2}), SCAN)
    assert seen.facts.voxels == {"liver": 30}
    assert (seen.facts.overlap_vox, seen.faults) == (0, ())
    np.testing.assert_array_equal(seen.voxels, labelled({seen.values["liver"]: 30}))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_are_counted_as_one_by_one(dtype: Any) -> None:
    label = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(dtype)
    assert count_values(label).tolist() == [int((label == v).sum()) for v in range(9)]
