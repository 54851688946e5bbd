"""Images that a program already holds are read like the files they could be saved as."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import scans
from mass3d.errors import DataError
from mass3d.io.read import label_of, read_label, read_volume, volume_of
from mass3d.volume.volume import Volume

# axes P, S, R: none of them where a canonical volume has it
PSR = np.array([[0, 0, 1.5, -3], [-2, 0, 0, 4], [0, 2.5, 0, 5], [0, 0, 0, 1.0]])


def test_an_image_of_nibabel_is_what_its_file_is(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scans.voxels(), PSR)
    nib.save(image, tmp_path / "a.nii.gz")
    for ours in (volume_of(image), volume_of(nib.load(tmp_path / "a.nii.gz"))):
        file = read_volume(tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(ours.voxels, file.voxels)
        assert (ours.grid, ours.source) == (file.grid, file.source)


def test_an_image_of_simpleitk_is_what_its_file_is(tmp_path: Path) -> None:
    turn = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    image = scans.itk_image(direction=turn)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    ours, file = volume_of(image), read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(ours.voxels, file.voxels)
    assert (ours.grid, ours.source) == (file.grid, file.source)


def test_paths_may_be_texts_and_a_volume_stays_itself(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(scans.voxels(), PSR), tmp_path / "a.nii.gz")
    volume = volume_of(str(tmp_path / "a.nii.gz"))
    assert volume.path == tmp_path / "a.nii.gz"
    assert volume_of(volume) is volume


def test_reading_does_not_change_what_the_program_holds() -> None:
    voxels = scans.voxels(np.float32)
    voxels[0, 0, 0] = np.nan
    image = nib.Nifti1Image(voxels, np.eye(4))
    assert volume_of(image).repairs == ("replaced 1 NaN or infinite voxels by the lowest value",)
    assert np.isnan(np.asarray(image.dataobj)[0, 0, 0])


def test_a_label_must_lie_on_the_grid_of_its_scan(tmp_path: Path) -> None:
    scan = volume_of(nib.Nifti1Image(scans.voxels(), PSR))
    values = (scans.voxels() > 50).astype(np.int16)
    nib.save(nib.Nifti1Image(values, PSR), tmp_path / "l.nii")
    label = label_of(nib.Nifti1Image(values, PSR), like=scan)
    np.testing.assert_array_equal(label.voxels, read_label(tmp_path / "l.nii").voxels)
    assert label_of(label, like=scan).grid == scan.grid
    beside = Volume.from_file_order(values, PSR + np.eye(4, k=3))
    for wrong in (beside, nib.Nifti1Image(values, PSR + np.eye(4, k=3))):
        with pytest.raises(DataError, match="a grid of"):
            label_of(wrong, like=scan)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)), "a 4D image"),
        (nib.Nifti1Image(np.zeros((3, 4, 5), np.complex64), np.eye(4)), "colour or complex"),
        (nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), "the same value"),
        (nib.Nifti1Image(scans.voxels(), None), "an image without an affine"),
        (nib.Nifti1Image(scans.voxels(), np.diag([2000.0, 1, 1, 1])), "voxel edges"),
        (sitk.Image((3, 4, 5), sitk.sitkVectorUInt8, 3), "3 numbers per voxel"),
        (sitk.Image((3, 4), sitk.sitkUInt8), "a 2D image"),
    ],
)
def test_what_no_file_may_hold_no_image_may(image: object, found: str) -> None:
    with pytest.raises(DataError, match=found):
        volume_of(image)


def test_an_image_in_another_unit_is_refused() -> None:
    image = nib.Nifti1Image(scans.voxels(), np.eye(4))
    image.header.set_xyzt_units("meter")
    with pytest.raises(DataError, match="lengths in metres"):
        volume_of(image)


def test_an_array_alone_has_no_place() -> None:
    with pytest.raises(TypeError, match="from_file_order"):
        volume_of(scans.voxels())
