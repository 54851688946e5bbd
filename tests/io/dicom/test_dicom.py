"""DICOM is read right, or refused or left out with its reason; none is read wrongly."""

from __future__ import annotations

import io
import math
import shutil
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

import dicoms
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import CaseFile, Cohort, find_cohort
from mass3d.io.datasets.source import source_hash
from mass3d.io.dicom.files import SMALL_BYTES
from mass3d.io.read import read_grid, read_label, read_volume
from mass3d.volume.volume import Volume

COS, SIN = math.cos(math.radians(20)), math.sin(math.radians(20))
OBLIQUE = (COS, SIN, 0.0, -SIN * COS, COS * COS, SIN)
TEN = [2.0 * number for number in range(10)]


def only(folder: Path) -> CaseFile:
    (case,) = find_cohort([folder]).cases
    return case


def read(folder: Path) -> Volume:
    return read_volume(only(folder).scan)


def refused(folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder)
    return caught.value


def reasons(cohort: Cohort) -> dict[str, int]:
    return {entry.reason: entry.files for entry in cohort.left_out}


def planes(volume: Volume) -> NDArray[Any]:
    """Voxels as slices (k, rows, columns), in the order of the file's grid."""
    return volume.source.from_canonical(volume.voxels).T


def ct_planes(numbers: Sequence[int], *, seed: int = 0) -> NDArray[Any]:
    return np.stack([dicoms.stored(number, seed=seed) - 1024.0 for number in numbers])


def check_against_itk(case: CaseFile) -> None:
    """The same voxels at the same places as ITK's series reader gives, which sorts for itself."""
    volume = read_volume(case.scan)
    (series_id,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(case.path))
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(case.path), series_id)
    image = sitk.ReadImage(files)
    np.testing.assert_allclose(planes(volume), sitk.GetArrayFromImage(image), rtol=1e-6)
    affine = np.diag([-1, -1, 1, 1]) @ np.array(volume.source.affine)
    for index in np.ndindex(2, 2, 2):
        corner = [int(i * (n - 1)) for i, n in zip(index, image.GetSize(), strict=True)]
        place = image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose((affine @ [*corner, 1])[:3], place, atol=1e-4)
    assert read_grid(case.scan).grid == volume.grid


# --- geometry ----------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [dicoms.AXIAL, OBLIQUE, (0, 1, 0, 0, 0, -1)])
def test_slices_are_sorted_by_place_and_read_as_itk_reads_them(
    tmp_path: Path, axes: Sequence[float]
) -> None:
    dicoms.series(tmp_path, axes=axes)
    volume = read(tmp_path)
    check_against_itk(only(tmp_path))
    np.testing.assert_array_equal(planes(volume), ct_planes(range(5)))
    assert (volume.modality, volume.repairs, volume.path) == ("ct", (), tmp_path)
    assert sorted(volume.spacing_mm) == pytest.approx([0.5, 0.75, 2.0])


def test_compressed_slices_are_the_same(tmp_path: Path) -> None:
    dicoms.series(tmp_path, compressed=True)
    np.testing.assert_array_equal(planes(read(tmp_path)), ct_planes(range(5)))


def test_each_slice_has_its_own_scale(tmp_path: Path) -> None:
    def change(ds: Dataset, number: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = number + 1, -10 * number

    dicoms.series(tmp_path, change=change)
    expected = [dicoms.stored(k) * (k + 1.0) - 10 * k for k in range(5)]
    np.testing.assert_array_equal(planes(read(tmp_path)), expected)


def test_a_missing_slice_is_interpolated_and_told(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path, TEN)
    paths[3].unlink()
    volume = read(tmp_path)
    whole = ct_planes(range(10))
    whole[3] = (whole[2] + whole[4]) / 2
    np.testing.assert_allclose(planes(volume), whole)
    assert volume.repairs == ("interpolated 1 missing of 10 slices (number 4)",)
    assert read_grid(only(tmp_path).scan).grid == volume.grid


@pytest.mark.parametrize(
    ("number", "gone", "found"),
    [
        (9, [3], "1 of 9 slices missing (number 4)"),  # more than one in ten
        (30, [3, 4], "2 of 30 slices missing (number 4, 5)"),  # two in a row
        (10, [1, 5], "2 of 10 slices missing (number 2, 6)"),
    ],
)
def test_more_missing_slices_are_refused(
    tmp_path: Path, number: int, gone: list[int], found: str
) -> None:
    paths = dicoms.series(tmp_path, [3.0 * k for k in range(number)])
    for k in gone:
        paths[k].unlink()
    error = refused(tmp_path)
    assert error.found == found
    assert error.expected == "all; one in 10 is interpolated, but no two in a row"


def test_rounded_places_are_even(tmp_path: Path) -> None:
    dicoms.series(tmp_path, [round(1.25 * k, 1) for k in range(40)])
    volume = read(tmp_path)
    assert volume.repairs == ()
    np.testing.assert_array_equal(planes(volume), ct_planes(range(40)))


def test_steps_a_little_uneven_are_resampled_and_told(tmp_path: Path) -> None:
    places = [0, 2, 4, 6.5, 9, 11.5]
    dicoms.series(tmp_path, places)
    volume = read(tmp_path)
    assert volume.repairs == ("uneven steps of 2 to 2.5 mm: resampled to 2.3",)
    slices, wanted = ct_planes(range(6)), 2.3 * np.arange(6)
    expected = np.apply_along_axis(lambda line: np.interp(wanted, places, line), 0, slices)
    np.testing.assert_allclose(planes(volume), expected, rtol=1e-5, atol=1e-2)
    assert volume.spacing_mm[0] == pytest.approx(2.3)


def test_very_uneven_steps_are_refused(tmp_path: Path) -> None:
    dicoms.series(tmp_path, [0, 2, 4, 7, 9, 11])
    error = refused(tmp_path)
    assert error.found == "steps between slices of 2 to 3 mm"
    assert error.expected == "even steps; up to 25% off the usual 2 mm are resampled"


def test_slices_beside_the_line_are_refused(tmp_path: Path) -> None:
    def change(ds: Dataset, number: int) -> None:
        if number == 2:
            ds.ImagePositionPatient = [-2.0, *ds.ImagePositionPatient[1:]]

    dicoms.series(tmp_path, change=change)
    assert "beside the line of the others" in refused(tmp_path).found


def tilted(folder: Path, degrees: float) -> None:
    """A ramp of the world, so that every voxel shows whether it lies where it says."""
    angle = math.radians(degrees)
    axes = np.array([1, 0, 0, 0, math.cos(angle), -math.sin(angle)])
    rows, columns = np.mgrid[: dicoms.SIZE[0], : dicoms.SIZE[1]]

    def change(ds: Dataset, _: int) -> None:
        origin = np.array(ds.ImagePositionPatient)[:, None, None]
        places = origin + axes[:3, None, None] * columns * 0.75 + axes[3:, None, None] * rows * 0.5
        ds.PixelData = (10 * places[1] + 1000).round().astype(np.int16).tobytes()

    dicoms.series(folder, axes=axes.tolist(), stack=(0, 0, 1), change=change)


@pytest.mark.parametrize("degrees", [14.0, -25.0])
def test_a_gantry_tilt_is_sheared_back_and_told_with_its_angle(
    tmp_path: Path, degrees: float
) -> None:
    tilted(tmp_path, degrees)
    volume = read(tmp_path)
    told = f"gantry tilt of {abs(degrees):.1f} degrees: slices resampled to a regular grid"
    assert volume.repairs == (told,)
    axes = volume.grid.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    index = np.stack([*np.indices(volume.voxels.shape), np.ones(volume.voxels.shape)])
    world = np.einsum("ij,j...->i...", volume.grid.affine, index)
    seen = volume.voxels > volume.voxels.min()
    assert seen.mean() > 0.3
    np.testing.assert_allclose(volume.voxels[seen], (-10 * world[1] - 24)[seen], atol=1)
    assert read_grid(only(tmp_path).scan).grid == volume.grid


def test_a_tilt_too_small_to_resample_is_told_and_the_slices_are_not_touched(
    tmp_path: Path,
) -> None:
    tilted(tmp_path, 0.45)
    volume = read(tmp_path)
    (told,) = volume.repairs
    assert told.startswith("axes that are 0.45 degrees from perpendicular: made perpendicular")
    np.testing.assert_array_equal(planes(volume) % 1, 0)
    affine = np.array(volume.source.affine)  # that of the file
    np.testing.assert_allclose(affine[:3, 2], [0, 0, 2], atol=1e-5)
    axes = volume.grid.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)


# --- several volumes ---------------------------------------------------------------------------


def test_a_folder_of_one_series_gives_the_case_its_name(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "p 1" / "CT")
    dicoms.series(tmp_path / "p 2" / "CT")
    assert [case.case_id for case in find_cohort([tmp_path]).cases] == ["p-1_CT", "p-2_CT"]
    roots = sorted(tmp_path.glob("*/CT"))
    assert [case.case_id for case in find_cohort(roots).cases] == ["p-1_CT", "p-2_CT"]
    assert only(tmp_path / "p 1").case_id == "CT"
    assert only(tmp_path / "p 1" / "CT").case_id == "CT"


def test_several_series_of_one_folder_are_told_apart_by_content(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "a" / "x", seed=1)
    dicoms.series(tmp_path / "a" / "y", modality="MR", seed=2)
    for number, path in enumerate(sorted(tmp_path.glob("a/*/*"))):
        path.rename(tmp_path / "a" / f"{number % 3}{number}")
    cases = find_cohort([tmp_path / "a"]).cases
    assert [case.case_id for case in cases] == ["a_3-Head-neck", "a_3-Head-neck_2"]
    volumes = {v.modality: v for v in (read_volume(case.scan) for case in cases)}
    np.testing.assert_array_equal(planes(volumes["ct"]), ct_planes(range(5), seed=1))
    np.testing.assert_array_equal(
        planes(volumes["mr"]), [dicoms.stored(k, seed=2) for k in range(5)]
    )
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "a")
    assert caught.value.found == "2 series (3 Head & neck, 3 Head & neck)"


def test_one_series_of_two_orientations_is_two_volumes(tmp_path: Path) -> None:
    uid = generate_uid()

    def change(ds: Dataset, _: int) -> None:
        ds.SeriesInstanceUID = uid

    dicoms.series(tmp_path / "a", change=change)
    dicoms.series(tmp_path / "b", axes=(0, 1, 0, 0, 0, -1), change=change)
    shapes = [read_volume(case.scan).voxels.shape for case in find_cohort([tmp_path]).cases]
    assert sorted(shapes) == [(5, 6, 8), (6, 8, 5)]


def in_time(folder: Path, values: Sequence[Any], tag: str, places: Sequence[float]) -> None:
    """A series of several volumes, one for each value of a tag."""
    uid = generate_uid()
    for seed, value in enumerate(values):

        def change(ds: Dataset, number: int, value: Any = value, seed: int = seed) -> None:
            ds.SeriesInstanceUID = uid
            ds.InstanceNumber = number * len(values) + seed
            ds.AcquisitionTime = f"10{number:02}{seed:02}"  # differs from slice to slice
            if tag:
                setattr(ds, tag, value)

        for path in dicoms.series(folder / "x", places, modality="MR", seed=seed, change=change):
            path.rename(folder / f"{seed}-{path.name}")
    (folder / "x").rmdir()


@pytest.mark.parametrize(
    ("tag", "values", "names"),
    [
        ("EchoTime", [20.0, 5.0], ["echo2", "echo1"]),
        ("DiffusionBValue", [0.0, 1000.0], ["b0", "b1000"]),
        ("TemporalPositionIdentifier", [1, 2, 3], ["t1", "t2", "t3"]),
        ("ImageType", [["DERIVED", "PRIMARY", "W"], ["DERIVED", "PRIMARY", "F"]], ["w", "f"]),
        ("", [0, 0], ["t1", "t2"]),
    ],
)
def test_volumes_of_one_series_are_split_and_named(
    tmp_path: Path, tag: str, values: list[Any], names: list[str]
) -> None:
    in_time(tmp_path / "a", values, tag, [0, 2, 4])
    cases = {case.case_id: case for case in find_cohort([tmp_path / "a"]).cases}
    assert set(cases) == {f"a_3-Head-neck_{name}" for name in names}
    for seed, name in enumerate(names):
        volume = read_volume(cases[f"a_3-Head-neck_{name}"].scan)
        expected = [dicoms.stored(k, seed=seed) for k in range(3)]
        np.testing.assert_array_equal(planes(volume), expected)


def test_a_volume_that_ends_before_the_others_of_its_series_is_refused(tmp_path: Path) -> None:
    in_time(tmp_path / "a", [5.0, 20.0], "EchoTime", [0, 2, 4])
    (tmp_path / "a" / "1-001").unlink()
    whole, short = find_cohort([tmp_path]).cases
    assert read_volume(whole.scan).voxels.shape == (3, 6, 8)
    with pytest.raises(DataError, match=r"echo2.* ends 2 mm before the others"):
        read_volume(short.scan)


def test_an_enhanced_file_is_read_by_its_frames(tmp_path: Path) -> None:
    path = dicoms.multi_frame(tmp_path / "scan", [0, 2, 4])
    volume = read_volume(path)
    expected = [2.0 * dicoms.stored(2 - k) + 2 * k for k in range(3)]
    np.testing.assert_array_equal(planes(volume), expected)
    assert volume.modality == "mr"
    assert volume.spacing_mm == (2.0, 0.5, 0.75)


def test_an_enhanced_file_of_several_echoes_is_several_cases(tmp_path: Path) -> None:
    dicoms.multi_frame(tmp_path / "scan", [0, 2, 4], echoes=(5.0, 20.0))
    one, two = find_cohort([tmp_path]).cases
    assert (one.case_id[-6:], two.case_id[-6:]) == ("_echo1", "_echo2")
    expected = [2.0 * dicoms.stored(5 - k) + 2 * k for k in range(3)]
    np.testing.assert_array_equal(planes(read_volume(two.scan)), expected)
    assert source_hash(one) != source_hash(two)


def test_copies_of_slices_are_left_out(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.copy(paths[0], tmp_path / "b" / "copy")
    cohort = find_cohort([tmp_path])
    assert reasons(cohort) == {"a copy of another slice": 1}
    np.testing.assert_array_equal(planes(read_volume(cohort.cases[0].scan)), ct_planes(range(5)))


def test_equal_slices_of_one_place_are_taken_once_and_told(tmp_path: Path) -> None:
    path = dicoms.series(tmp_path)[2]
    ds = pydicom.dcmread(path)
    ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), 99
    dicoms.save(ds, tmp_path / "again")
    volume = read(tmp_path)
    np.testing.assert_array_equal(planes(volume), ct_planes(range(5)))
    assert volume.repairs == ("left out 1 equal copies of slices",)


def test_different_slices_of_one_place_are_refused(tmp_path: Path) -> None:
    path = dicoms.series(tmp_path)[2]
    ds = pydicom.dcmread(path)
    ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), 99
    ds.PixelData = dicoms.stored(7).tobytes()
    dicoms.save(ds, tmp_path / "again")
    assert "a second slice at the same place" in refused(tmp_path).found


# --- what is no scan ---------------------------------------------------------------------------


def colour(ds: Dataset) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation, ds.PixelData = 7, 0, bytes(3 * 48)


def test_what_is_no_scan_is_left_out_with_its_reason(tmp_path: Path) -> None:
    def localizer(ds: Dataset, _: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    dicoms.series(tmp_path / "ct")
    dicoms.series(tmp_path / "scout", change=localizer)
    dicoms.series(tmp_path / "lone", [0])
    for name, modality in {"capture": "OT", "seg": "SEG", "colour": "MR"}.items():
        ds = dicoms.image(dicoms.stored(0), modality=modality, series_uid=generate_uid())
        if name == "colour":
            colour(ds)
        dicoms.save(ds, tmp_path / name / "1.dcm")
    (tmp_path / "notes.txt").write_text("x")
    cohort = find_cohort([tmp_path])
    assert [case.case_id for case in cohort.cases] == ["ct"]
    assert reasons(cohort) == {
        "a localizer": 5,
        "a single slice": 1,
        "a secondary capture": 1,
        "a DICOM segmentation": 1,
        "a colour image": 1,
        "no image by name and content": 1,
    }


def test_a_folder_without_a_scan_says_what_there_is_instead(tmp_path: Path) -> None:
    dicoms.series(tmp_path, [0])
    for call in (lambda: find_cohort([tmp_path]), lambda: read_volume(tmp_path)):
        with pytest.raises(DataError, match="a single slice"):
            call()


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "RescaleIntercept"])
def test_a_ct_without_place_or_scale_is_a_case_that_fails_by_the_tag(
    tmp_path: Path, tag: str
) -> None:
    dicoms.series(tmp_path, change=lambda ds, _: ds.pop(tag))
    assert refused(tmp_path).found == f"a slice without {tag}"


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    path = dicoms.series(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-20])
    error = refused(tmp_path)
    assert error.where == str(path)
    assert error.found.startswith("a damaged or incomplete image")


def test_a_file_cut_within_its_header_is_not_lost(tmp_path: Path) -> None:
    path = dicoms.series(tmp_path, TEN)[4]
    path.write_bytes(path.read_bytes()[:700])
    whole, cut = sorted(find_cohort([tmp_path]).cases, key=lambda case: case.series is None)
    assert read_volume(whole.scan).repairs == ("interpolated 1 missing of 10 slices (number 5)",)
    with pytest.raises(DataError) as caught:
        read_volume(cut.scan)
    assert caught.value.where == str(path)


def test_a_ct_in_other_units_is_refused(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.RescaleType = "Z_EFF"

    dicoms.series(tmp_path, change=change)
    assert refused(tmp_path).found == "a CT in units of Z_EFF"


def test_dicom_is_no_label_map(tmp_path: Path) -> None:
    path = dicoms.series(tmp_path)[0]
    with pytest.raises(DataError, match="convert it to NIfTI"):
        read_label(path)


# --- PET ---------------------------------------------------------------------------------------


def test_pet_becomes_suv_by_body_weight(tmp_path: Path) -> None:
    dicoms.series(tmp_path, modality="PT", change=dicoms.pet)
    volume = read(tmp_path)
    scale = 80_000 / 1e8  # one half-life after 2e8 Bq
    expected = [dicoms.stored(k) * (k + 1.0) * scale for k in range(5)]
    np.testing.assert_allclose(planes(volume), expected, rtol=1e-6)
    assert volume.modality == "pet"
    assert volume.repairs == ("Bq/ml turned into SUV by body weight (times 0.0008)",)


def test_a_dose_corrected_to_the_injection_does_not_decay(tmp_path: Path) -> None:
    def change(ds: Dataset, number: int) -> None:
        dicoms.pet(ds, number)
        ds.DecayCorrection = "ADMIN"

    dicoms.series(tmp_path, modality="PT", change=change)
    np.testing.assert_allclose(planes(read(tmp_path))[0], dicoms.stored(0) * 4e-4, rtol=1e-6)


def test_pet_that_is_suv_already_is_taken_as_it_is(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.Units, ds.RescaleSlope, ds.RescaleIntercept = "GML", 0.01, 0

    dicoms.series(tmp_path, modality="PT", change=change)
    volume = read(tmp_path)
    np.testing.assert_allclose(planes(volume)[3], dicoms.stored(3) * 0.01, rtol=1e-6)
    assert volume.repairs == ()


def test_counts_of_philips_are_scaled_by_its_private_tag(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.Units, ds.RescaleSlope, ds.RescaleIntercept = "CNTS", 1, 0
        ds.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
        ds.add_new((0x7053, 0x1000), "DS", "0.25")

    dicoms.series(tmp_path, modality="PT", change=change)
    np.testing.assert_allclose(planes(read(tmp_path))[3], dicoms.stored(3) * 0.25)


@pytest.mark.parametrize(
    "tag",
    [
        "Units",
        "PatientWeight",
        "DecayCorrection",
        "SeriesTime",
        "RadiopharmaceuticalInformationSequence",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartTime",
    ],
)
def test_pet_without_a_tag_that_suv_needs_is_refused_by_its_name(tmp_path: Path, tag: str) -> None:
    def change(ds: Dataset, number: int) -> None:
        dicoms.pet(ds, number)
        for place in (ds, ds.RadiopharmaceuticalInformationSequence[0]):
            place.pop(tag, None)

    dicoms.series(tmp_path, modality="PT", change=change)
    assert refused(tmp_path).found == f"a PET without {tag}"


@pytest.mark.parametrize(
    ("tag", "value", "found"),
    [
        ("Units", "PROPCNTS", "a PET in units of PROPCNTS"),
        ("DecayCorrection", "NONE", "DecayCorrection NONE"),
        ("PatientWeight", 0, "PatientWeight 0"),
    ],
)
def test_pet_that_cannot_become_suv_is_refused(
    tmp_path: Path, tag: str, value: Any, found: str
) -> None:
    def change(ds: Dataset, number: int) -> None:
        dicoms.pet(ds, number)
        setattr(ds, tag, value)

    dicoms.series(tmp_path, modality="PT", change=change)
    assert refused(tmp_path).found == found


def test_a_broken_number_among_the_tags_of_suv_is_refused(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path, modality="PT", change=dicoms.pet)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"200000000.0", b"2000\0x000.0"))
    assert refused(tmp_path).found.startswith("a damaged or incomplete image (could not convert")


# --- files -------------------------------------------------------------------------------------


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_an_archive_is_read_like_its_folder(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "a" / "deep")
    (tmp_path / "in").mkdir()
    archive = zipped(tmp_path / "a", tmp_path / "in" / "p1.zip")
    case = only(tmp_path / "in")
    assert (case.case_id, case.path) == ("p1", archive)
    np.testing.assert_array_equal(planes(read_volume(case.scan)), ct_planes(range(5)))
    assert source_hash(case) == source_hash(only(tmp_path / "a"))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut"])
def test_a_broken_archive_is_a_case_that_fails(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    error = refused(tmp_path)
    assert error.where == str(tmp_path / "a.zip")
    assert error.found.startswith("a damaged or incomplete image")


def test_a_member_that_unpacks_to_far_more_than_its_archive_holds_is_refused_at_once(
    tmp_path: Path,
) -> None:
    (path, *_) = dicoms.series(tmp_path / "a")
    with path.open("ab") as stream:
        stream.truncate(SMALL_BYTES + 5)
    archive = zipped(tmp_path / "a", tmp_path / "a.zip")
    tracemalloc.start()
    with pytest.raises(DataError, match=f"found {SMALL_BYTES + 5} bytes packed into") as caught:
        read_volume(archive)
    assert tracemalloc.get_traced_memory()[1] < SMALL_BYTES / 2
    tracemalloc.stop()
    assert caught.value.where == str(archive / path.name)


def test_an_archive_of_other_things_is_left_out(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "ct")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("x")
    zipped(tmp_path / "x", tmp_path / "notes.zip")
    assert reasons(find_cohort([tmp_path])) == {
        "an archive without DICOM": 1,
        "no image by name and content": 1,
    }


def test_the_hash_of_a_series_is_that_of_its_content(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path / "a")
    before = source_hash(only(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / paths[0].name).rename(tmp_path / "b" / "zzz")
    assert source_hash(only(tmp_path / "b")) == before
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"x")
    assert source_hash(only(tmp_path / "a")) != before


def test_files_may_be_named_one_by_one(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path / "p1")
    (case,) = find_cohort(paths).cases
    assert case.case_id == "p1"
    assert read_volume(case.scan).voxels.shape == (5, 6, 8)


def test_a_file_without_the_mark_of_dicom_is_known_by_its_first_tag(tmp_path: Path) -> None:
    for path in dicoms.series(tmp_path):
        ds, stream = pydicom.dcmread(path), io.BytesIO()
        pydicom.dcmwrite(stream, ds, enforce_file_format=False)
        content = stream.getvalue()
        start = content.index(b"\x08\x00\x08\x00CS")
        path.write_bytes(content[start:])
    np.testing.assert_array_equal(planes(read(tmp_path)), ct_planes(range(5)))


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"])
def test_other_compressions_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    """JPEG-LS, which pydicom cannot read without more packages, is left to GDCM."""
    folders = {"plain": "MR_small.dcm", "packed": name}
    for folder, file in folders.items():
        ds = pydicom.dcmread(str(get_testdata_file(file)))
        (tmp_path / folder).mkdir()
        for number in range(3):
            ds.SOPInstanceUID, ds.ImagePositionPatient = f"1.2.{number + 1}", [0, 0, number]
            ds.save_as(tmp_path / folder / str(number))
    plain, packed = (read(tmp_path / folder) for folder in folders)
    np.testing.assert_array_equal(packed.voxels, plain.voxels)
    assert packed.voxels.max() > 1000


def test_nothing_about_the_patient_is_kept(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "a", change=lambda ds, _: ds.pop("PixelSpacing"))
    dicoms.series(tmp_path / "b")
    cohort = find_cohort([tmp_path])
    shown = (
        repr(cohort) + repr(read_volume(cohort.cases[1].scan).source) + str(refused(tmp_path / "a"))
    )
    assert "Doe" not in shown


def test_a_volume_knows_the_series_it_was_read_from(tmp_path: Path) -> None:
    files = dicoms.series(tmp_path, change=lambda ds, n: setattr(ds, "FrameOfReferenceUID", "1.9"))
    headers = [pydicom.dcmread(path) for path in sorted(files, reverse=True)]
    identity = read_volume(tmp_path).dicom
    assert identity is not None
    assert identity.study_uid == "1.2.3"
    assert identity.series_uid == headers[0].SeriesInstanceUID
    assert (identity.frame_of_reference_uid, identity.sop_class_uid) == (
        "1.9",
        headers[0].SOPClassUID,
    )
    assert identity.instance_uids == tuple(ds.SOPInstanceUID for ds in headers)
