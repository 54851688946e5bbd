from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scans
from mass3d.errors import OutputError
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_image, write_label
from mass3d.volume.geometry import SourceGrid
from oracles import geometry

ORIENTATIONS = geometry.orientations()
NAMES = ["a.nii", "a.nii.gz"]


def oblique(axes: np.ndarray) -> np.ndarray:
    """An affine as a NIfTI file holds it: in float32."""
    affine = geometry.affine(axes, spacing_mm=(1.0, 2.5, 0.7), tilt_deg=(6.0, -11.0, 3.0))
    return affine.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_a_result_lies_exactly_on_the_grid_of_its_scan_in_every_orientation(
    tmp_path: Path, axes: np.ndarray
) -> None:
    scan, result = tmp_path / "scan.nii.gz", tmp_path / "result.nii.gz"
    scan.write_bytes(gzip.compress(scans.nifti_bytes(scans.voxels(), oblique(axes))))
    volume = read_volume(scan)
    write_label(result, volume.voxels.astype(np.int64), volume.source)
    before, after = nib.load(scan), nib.load(result)
    assert isinstance(before, nib.Nifti1Image)
    assert isinstance(after, nib.Nifti1Image)
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))
    again = read_label(result, like=volume)
    assert (again.grid, again.source, again.repairs) == (volume.grid, volume.source, ())
    np.testing.assert_array_equal(again.voxels, volume.voxels)


@settings(max_examples=25)  # each is flushed to disk
@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.integers(2, 5)] * 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from(NAMES),
)
def test_written_voxels_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    axes: np.ndarray,
    shape: tuple[int, int, int],
    seed: int,
    name: str,
) -> None:
    source = SourceGrid.nearest(shape, oblique(axes))
    path = tmp_path_factory.getbasetemp() / name
    rng = np.random.default_rng(seed)
    image = rng.normal(size=source.grid.shape).astype(np.float32)
    write_image(path, image, source)
    read = read_volume(path)
    np.testing.assert_array_equal(read.voxels, image)
    assert (read.grid, read.source) == (source.grid, source)
    label = rng.integers(0, 2**16, source.grid.shape, dtype=np.uint16)
    write_label(path, label, source)
    again = read_label(path)
    np.testing.assert_array_equal(again.voxels, label)
    assert (again.grid, again.source) == (source.grid, source)


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha"])
def test_a_result_for_a_scan_of_another_format_lies_on_its_grid(tmp_path: Path, name: str) -> None:
    turned = geometry.affine(ORIENTATIONS[20], spacing_mm=(1, 1, 1), tilt_deg=(6.0, -11.0, 3.0))
    path = scans.write_itk(tmp_path / name, scans.itk_image(direction=turned[:3, :3]))
    volume = read_volume(path)
    write_label(tmp_path / "a.nii.gz", volume.voxels, volume.source)
    label = read_label(tmp_path / "a.nii.gz", like=volume)
    assert label.grid == volume.grid
    np.testing.assert_array_equal(label.voxels, volume.voxels)
    saved = np.array(label.source.affine)
    np.testing.assert_allclose(saved, np.array(volume.source.affine), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_equal_results_are_equal_bytes(tmp_path: Path, name: str) -> None:
    source = SourceGrid.nearest((3, 4, 5), oblique(ORIENTATIONS[7]))
    labels = np.random.default_rng(0).integers(0, 9, source.grid.shape)
    first, second = tmp_path / "one" / name, tmp_path / f"another_{name}"
    write_label(first, labels, source)
    write_label(second, np.asfortranarray(labels.astype(np.uint8)), source)
    assert first.read_bytes() == second.read_bytes()


def test_a_result_says_its_units_and_codes_and_is_stored_small(tmp_path: Path) -> None:
    source = SourceGrid.nearest((3, 4, 5), oblique(ORIENTATIONS[7]))
    for top, dtype in ((255, np.uint8), (256, np.uint16), (2**16, np.uint32)):
        write_label(tmp_path / "a.nii", np.full(source.grid.shape, top), source)
        header = nib.load(tmp_path / "a.nii").header
        assert isinstance(header, nib.Nifti1Header)
        assert header.get_data_dtype() == dtype
        assert header.get_xyzt_units()[0] == "mm"
        assert (header["sform_code"], header["qform_code"]) == (1, 1)
        np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


@pytest.mark.parametrize("value", [-1, 2**32, 0.5])
def test_numbers_that_no_label_file_can_hold_are_a_mistake_of_the_caller(
    tmp_path: Path, value: float
) -> None:
    source = SourceGrid.nearest((3, 4, 5), np.eye(4))
    labels = np.zeros(source.grid.shape)
    labels[0, 0, 0] = value
    with pytest.raises(AssertionError):
        write_label(tmp_path / "a.nii", labels, source)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SourceGrid.nearest((3, 4, 5), np.eye(4))
    labels = np.ones(source.grid.shape, np.uint8)
    path = tmp_path / "a.nii.gz"
    write_label(path, labels, source)
    before = path.read_bytes()

    def half(self: Path, content: bytes) -> None:
        with self.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match="no space left"):
        write_label(path, 2 * labels, source)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    source = SourceGrid.nearest((3, 4, 5), np.eye(4))
    image: Any = np.zeros(source.grid.shape)
    write_image(tmp_path / "x" / "y" / "a.nii.gz", image, source)
    assert (tmp_path / "x" / "y" / "a.nii.gz").is_file()
