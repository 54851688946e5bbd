"""Every file of the folder `reader`, in one table: read right, or refused in these words.

Real scans from scanners and from other tools. Shapes, edges and orientations are written down here,
voxels and places are compared with SimpleITK and, for NIfTI, with nibabel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.inspection.case import orientation
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.dicom.series import Series
from mass3d.io.dicom.volume import only_series
from mass3d.io.formats.sniff import READABLE
from mass3d.io.read import read_grid, read_label, read_volume
from mass3d.io.write import write_label
from mass3d.volume.volume import Volume

pytestmark = pytest.mark.data
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Read:
    """A file or series that is read."""

    name: str
    shape: tuple[int, int, int]  # (i, j, k) in the file
    edges_mm: tuple[float, float, float]
    axes: str  # towards which side each grows
    modality: str | None = None
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Files that are refused, with the three parts of the sentence."""

    name: str  # may name several
    found: str  # a regular expression
    expected: str
    fix: str


TILT = "gantry tilt of 14.0 degrees: slices resampled to a regular grid"
ONE_SLICE = (
    r"no series \(1 x a single slice\)",
    "one DICOM series",
    "Name the folder that holds all slices of one series, and of no other.",
)

TABLE: list[Read | Refused] = [
    Read("nifti/big_endian.nii", (33, 41, 25), (2, 2, 2), "LAS"),
    Read("nifti/cardiac_oblique.nii.gz", (256, 256, 12), (1.367188, 1.367188, 10), "IRP"),
    Read("nifti/cardiac_oblique_gt.nii.gz", (256, 256, 12), (1.367188, 1.367188, 10), "IRP"),
    Read("nifti/ct_rotated.nii.gz", (175, 248, 58), (0.8125, 0.8125, 2.397047), "RAS"),
    Refused(
        "nifti/four_d.nii.gz",
        "a 4D image of 128 x 96 x 24 x 2 voxels",
        "one 3D volume",
        "Split a series into one file per volume.",
    ),
    Read("nrrd/BallBinary30x30x30.nhdr", (30, 30, 30), (1, 1, 1), "LPS"),
    Read("nrrd/BallBinary30x30x30_gz.nrrd", (30, 30, 30), (1, 1, 1), "LPS"),
    Refused(
        "nrrd/BallBinary30x30x30.raw",  # the voxels of the .nhdr
        r"content that begins with b'(\\x00){16}'",
        READABLE,
        "This is not an image file of these formats, whatever its name says.",
    ),
    Read("mha/3DCT_lung_baseline_small.mha", (57, 78, 64), (2.732, 2.732, 5), "LPS"),
    Read("dicom/ct_20_slices", (512, 512, 20), (0.976562, 0.976562, 2), "LPS", "ct"),
    Read("dicom/ct_20_slices_seg.nii.gz", (512, 512, 20), (0.976562, 0.976562, 2), "LAS"),
    Read("dicom/missing_slice", (256, 256, 2), (1, 1, 1), "PIR", "mr"),
    Read("dicom/gantry_tilt", (512, 521, 4), (0.417969, 0.417969, 4.851479), "LPS", "ct", (TILT,)),
    Refused("dicom/ct_20_slices/CT.*", *ONE_SLICE),
    Refused("dicom/missing_slice/*.dcm", *ONE_SLICE),
    Refused("dicom/gantry_tilt/*.dcm", *ONE_SLICE),
    Refused(
        "dicom_seg/seg_image_ct_binary.dcm",
        r"no series \(1 x a DICOM segmentation\)",
        *ONE_SLICE[1:],
    ),
]
READ = [row for row in TABLE if isinstance(row, Read)]
REFUSED = [row for row in TABLE if isinstance(row, Refused)]


@pytest.fixture
def folder(data_dir: Path) -> Path:
    return data_dir / "reader"


def test_every_file_has_a_row(folder: Path) -> None:
    known = {path for row in TABLE for path in folder.glob(row.name)}
    known |= {file for path in known if path.is_dir() for file in path.iterdir()}
    assert [str(path) for path in folder.rglob("*") if path.is_file() and path not in known] == []
    assert all(list(folder.glob(row.name)) for row in TABLE)


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_readable_file_is_read_as_other_tools_read_it(folder: Path, row: Read) -> None:
    path = folder / row.name
    volume = read_volume(path)
    assert volume.source.shape == row.shape
    edges = np.linalg.norm(np.array(volume.source.affine)[:3, :3], axis=0)
    np.testing.assert_allclose(edges, row.edges_mm, atol=1e-5)
    assert orientation(volume.source) == row.axes
    assert (volume.modality, volume.repairs) == (row.modality, row.repairs)
    assert volume.grid == volume.source.grid == read_grid(path).grid
    if row.repairs:
        check_tilted(volume, only_series(path))
    elif path.is_dir():
        files = [str(part.file.path) for part in only_series(path).slices]
        check_against_itk(volume, sitk.ReadImage(files))
    else:
        check_against_itk(volume, sitk.ReadImage(str(path)))
    if ".nii" in path.name:
        check_against_nibabel(volume, path)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_any_other_file_is_refused_in_words_that_help(folder: Path, row: Refused) -> None:
    for path in folder.glob(row.name):
        with pytest.raises(DataError) as caught:
            read_volume(path)
        error = caught.value
        assert re.fullmatch(row.found, error.found), error.found
        assert (error.where, error.expected, error.fix) == (str(path), row.expected, row.fix)


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_result_for_a_real_scan_lies_on_it_to_the_last_bit(
    folder: Path, tmp_path: Path, row: Read
) -> None:
    volume = read_volume(folder / row.name)
    write_label(tmp_path / "a.nii.gz", volume.voxels > 0, volume.source)
    label = read_label(tmp_path / "a.nii.gz", like=volume)
    np.testing.assert_array_equal(label.voxels, volume.voxels > 0)
    if ".nii" in row.name:  # the others have more digits than NIfTI can hold
        before, after = nib.load(folder / row.name), nib.load(tmp_path / "a.nii.gz")
        assert isinstance(before, nib.Nifti1Image)
        assert isinstance(after, nib.Nifti1Image)
        assert after.affine.tobytes() == before.affine.astype(after.affine.dtype).tobytes()


@pytest.mark.parametrize(
    ("label", "scan"),
    [
        ("nifti/cardiac_oblique_gt.nii.gz", "nifti/cardiac_oblique.nii.gz"),
        ("dicom/ct_20_slices_seg.nii.gz", "dicom/ct_20_slices"),
    ],
)
def test_a_real_label_fits_its_scan(folder: Path, label: str, scan: str) -> None:
    image = read_volume(folder / scan)
    found = read_label(folder / label, like=image)
    assert found.grid == image.grid
    assert found.voxels.max() > 0


def test_the_whole_folder_is_a_cohort_in_which_nothing_is_lost(folder: Path) -> None:
    cohort = find_cohort([folder])
    labels, failing = 2, 1  # the 4D file is a case, and fails when it is read
    assert len(cohort.cases) == len(READ) - labels + failing
    reasons = [entry.reason for entry in cohort.left_out]
    assert sorted(reasons) == ["a DICOM segmentation", *["a label of a scan"] * labels]


def check_against_itk(volume: Volume, image: sitk.Image) -> None:
    """The same voxels at the same places."""
    in_file = volume.source.from_canonical(volume.voxels)
    np.testing.assert_array_equal(in_file.T, sitk.GetArrayFromImage(image))
    affine = np.array(volume.source.affine)
    for ends in np.ndindex(2, 2, 2):
        corner = [int(end * (n - 1)) for end, n in zip(ends, in_file.shape, strict=True)]
        place = LPS_TO_RAS @ affine @ [*corner, 1.0]
        expected = image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(place[:3], expected, rtol=0, atol=1e-4)


def check_against_nibabel(volume: Volume, path: Path) -> None:
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    np.testing.assert_array_equal(np.array(volume.source.affine), image.affine)
    in_file = volume.source.from_canonical(volume.voxels)
    np.testing.assert_array_equal(in_file, image.get_fdata().astype(np.float32))


def check_tilted(volume: Volume, series: Series) -> None:
    """Voxels are those of the tilted slices at their place in the world, read by ITK one by one."""
    rng = np.random.default_rng(0)
    affine = LPS_TO_RAS @ np.array(volume.source.affine)
    in_file = volume.source.from_canonical(volume.voxels)
    compared = 0
    for k, part in enumerate(series.slices):
        image = sitk.Cast(sitk.ReadImage(str(part.file.path)), sitk.sitkFloat64)
        for i, j in rng.integers((0, 0), in_file.shape[:2], (500, 2)):
            place = (affine @ [i, j, k, 1])[:3]
            if image.TransformPhysicalPointToContinuousIndex(place)[2] == pytest.approx(
                0, abs=1e-3
            ):
                compared += compare_voxel(in_file[i, j, k], image, place)
    assert compared > 1500


def compare_voxel(value: float, image: sitk.Image, place: NDArray[np.float64]) -> bool:
    """Whether the slice holds that place; if so, its value there is this one."""
    index = image.TransformPhysicalPointToContinuousIndex(place.tolist())
    assert index[2] == pytest.approx(0, abs=1e-3)
    inside = all(0 <= x <= n - 1 for x, n in zip(index[:2], image.GetSize()[:2], strict=True))
    if inside:
        within = image.TransformContinuousIndexToPhysicalPoint((*index[:2], 0.0))
        assert image.EvaluateAtPhysicalPoint(within) == pytest.approx(value, abs=0.01)
    return inside
