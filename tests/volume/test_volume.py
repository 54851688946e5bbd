"""A volume knows its source, and saves itself on it."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.errors import OutputError
from mass3d.volume.volume import DicomIdentity, Volume

# axes P, S, R with an oblique touch: none of them where a canonical volume has it
PSR = np.array([[0.1, 0, 1.5, -3], [-2, 0.1, 0, 4], [0, 2.5, 0, 5], [0, 0, 0, 1.0]])
VOXELS = np.random.default_rng(3).integers(0, 300, (5, 6, 7)).astype(np.int16)


def volume(voxels: NDArray[np.generic] = VOXELS) -> Volume:
    return Volume.from_file_order(voxels, PSR)


@pytest.mark.parametrize("name", ["a.nii", "deep/a.nii.gz", "A.NII.GZ"])
def test_what_is_saved_has_axes_and_grid_of_the_source(tmp_path: Path, name: str) -> None:
    volume().save(tmp_path / name)
    again = nib.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(again.dataobj), VOXELS)
    np.testing.assert_allclose(again.affine, PSR, atol=1e-6)


def test_a_label_map_of_a_scan_is_saved_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    scan = volume()
    found = scan.with_voxels((scan.voxels > 100).astype(np.uint16))
    found.save(str(tmp_path / "found.nii.gz"))
    again = nib.load(tmp_path / "found.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), VOXELS > 100)
    assert again.get_data_dtype() == np.uint8


@pytest.mark.parametrize(
    ("voxels", "stored"),
    [
        (VOXELS, np.uint16),
        (VOXELS > 3, np.uint8),
        (VOXELS - 5, np.float32),
        (VOXELS / 7, np.float32),
        (VOXELS.astype(np.int32) * 1000, np.uint32),
    ],
)
def test_voxels_are_stored_in_a_type_that_holds_them(
    voxels: NDArray[Any], stored: type[np.generic]
) -> None:
    image = volume(voxels).to_nibabel()
    assert image.get_data_dtype() == stored
    np.testing.assert_allclose(np.asarray(image.dataobj), voxels, rtol=1e-6)


def test_a_name_that_is_not_of_nifti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.nii\.gz"):
        volume().save(tmp_path / "a.nrrd")
    assert not list(tmp_path.iterdir())


def test_volumes_do_not_show_voxels_or_differ_by_their_series() -> None:
    scan = volume()
    assert repr(scan) == "Volume(6 x 5 x 7 int16 of 2.5 x 2 x 1.5 mm, from None)"
    series = DicomIdentity("1.2", "1.3", "1.4", "1.5", ("1.6", "1.7"))
    known = Volume(scan.voxels, scan.grid, scan.source, dicom=series)
    assert known.with_voxels(scan.voxels).dicom is series
    assert not Volume.__dataclass_fields__["dicom"].compare
