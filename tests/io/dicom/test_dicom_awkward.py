"""Series as scanners, archives and tools that anonymise leave them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

import dicoms
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.read import read_grid, read_volume
from mass3d.volume.volume import Volume

TEN = [2.0 * number for number in range(10)]
Change = Callable[[Dataset, int], None]


def read(folder: Path) -> Volume:
    (case,) = find_cohort([folder]).cases
    return read_volume(case.scan)


def refused(folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read(folder)
    return caught.value


def planes(volume: Volume) -> NDArray[Any]:
    """Voxels as slices (k, rows, columns), in the order of the file's grid."""
    return volume.source.from_canonical(volume.voxels).T


def stored(number: int, *, seed: int = 0) -> NDArray[np.float64]:
    return dicoms.stored(number, seed=seed).astype(np.float64) - 1024


# --- slices that are lost ----------------------------------------


@pytest.mark.parametrize("tag", ["ImagesInAcquisition", "NumberOfSlices"])
def test_a_header_that_speaks_of_more_images_than_were_found_is_told(
    tmp_path: Path, tag: str
) -> None:
    for path in dicoms.series(tmp_path, TEN, change=lambda ds, _: setattr(ds, tag, 10))[-2:]:
        path.unlink()
    volume = read(tmp_path)
    assert planes(volume).shape[0] == 8
    assert volume.repairs == ("the headers speak of 10 images of this series; 8 were found",)


def test_instance_numbers_that_begin_a_little_late_are_told(tmp_path: Path) -> None:
    dicoms.series(tmp_path, TEN)[-1].unlink()  # the last place has the first number
    assert read(tmp_path).repairs == ("instance numbers begin at 2: slices before may be missing",)


def test_instance_numbers_that_go_on_from_another_series_are_not_told(tmp_path: Path) -> None:
    def change(ds: Dataset, number: int) -> None:
        ds.InstanceNumber = 200 + number

    dicoms.series(tmp_path, TEN, change=change)
    assert read(tmp_path).repairs == ()


def test_the_instance_number_of_an_enhanced_file_says_nothing_about_its_frames(
    tmp_path: Path,
) -> None:
    path = dicoms.multi_frame(tmp_path / "scan", [0, 2, 4])
    ds = pydicom.dcmread(path)
    ds.InstanceNumber = 2
    ds.save_as(path)
    assert read_volume(path).repairs == ()


# --- what tools that anonymise leave ----------------------------------------


def anonymous(ds: Dataset, _: int) -> None:
    """Every identifier the same, and no instance numbers."""
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    del ds.InstanceNumber


def test_a_series_without_instance_numbers_and_with_equal_identifiers_is_read(
    tmp_path: Path,
) -> None:
    dicoms.series(tmp_path, change=anonymous)
    np.testing.assert_array_equal(planes(read(tmp_path)), [stored(k) for k in range(5)])


def test_patients_with_equal_identifiers_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for seed, name in enumerate(("p1", "p2", "p3")):
        dicoms.series(tmp_path / name, seed=seed, change=anonymous)
    cases = find_cohort([tmp_path]).cases
    assert [case.case_id for case in cases] == ["p1", "p2", "p3"]
    for seed, case in enumerate(cases):
        expected = [stored(k, seed=seed) for k in range(5)]
        np.testing.assert_array_equal(planes(read_volume(case.scan)), expected)


def test_a_series_that_an_archive_cut_into_folders_is_one(tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for path in paths[::2]:
        path.rename(tmp_path / "b" / path.name)
    np.testing.assert_array_equal(planes(read(tmp_path)), [stored(k) for k in range(5)])


def test_volumes_with_equal_slice_identifiers_are_not_taken_for_copies(tmp_path: Path) -> None:
    for seed, echo in enumerate((5.0, 20.0)):

        def change(ds: Dataset, number: int, echo: float = echo) -> None:
            anonymous(ds, number)
            ds.EchoTime = echo

        for path in dicoms.series(tmp_path / "x", modality="MR", seed=seed, change=change):
            path.rename(tmp_path / f"{seed}-{path.name}")
    one, two = find_cohort([tmp_path]).cases
    assert (one.case_id[-6:], two.case_id[-6:]) == ("_echo1", "_echo2")
    expected = [dicoms.stored(k, seed=1) for k in range(5)]
    np.testing.assert_array_equal(planes(read_volume(two.scan)), expected)


def test_orientations_that_differ_by_noise_are_one_series(tmp_path: Path) -> None:
    def change(ds: Dataset, number: int) -> None:
        noise = 1e-4 * np.random.default_rng(number).normal(size=6)
        ds.ImageOrientationPatient = [round(x, 7) for x in np.array(dicoms.AXIAL) + noise]

    dicoms.series(tmp_path, change=change)
    volume = read(tmp_path)
    np.testing.assert_array_equal(planes(volume), [stored(k) for k in range(5)])
    axes = volume.grid.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)


@pytest.mark.parametrize(
    ("tag", "old", "new"),
    [("ImagePositionPatient", b"-5", b"x5"), ("RescaleIntercept", b"-1024", b"-10 4")],
)
def test_a_number_with_garbage_is_refused_by_the_name_of_its_file(
    tmp_path: Path, tag: str, old: bytes, new: bytes
) -> None:
    for path in dicoms.series(tmp_path):
        content = path.read_bytes()
        assert old in content, tag
        path.write_bytes(content.replace(old, new))
    assert refused(tmp_path).found.startswith("a damaged or incomplete image")


# --- acquisitions at the same places ----------------------------------------


def test_interleaved_acquisitions_at_the_same_places_are_two_volumes(tmp_path: Path) -> None:
    for seed in range(2):

        def change(ds: Dataset, number: int, seed: int = seed) -> None:
            ds.SeriesInstanceUID = "1.2.4"
            ds.AcquisitionNumber, ds.InstanceNumber = seed + 1, 2 * number + seed + 1

        for path in dicoms.series(tmp_path / "x", seed=seed, change=change):
            path.rename(tmp_path / f"{seed}-{path.name}")
    cases = find_cohort([tmp_path]).cases
    for seed, case in enumerate(cases):
        assert case.case_id.endswith(f"_t{seed + 1}")
        expected = [stored(k, seed=seed) for k in range(5)]
        np.testing.assert_array_equal(planes(read_volume(case.scan)), expected)


def siemens(ds: Dataset, value: int) -> None:
    ds.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
    ds.add_new((0x0019, 0x100C), "IS", str(value))


def ge(ds: Dataset, value: int) -> None:
    ds.add_new((0x0043, 0x0010), "LO", "GEMS_PARM_01")
    ds.add_new((0x0043, 0x1039), "IS", [10**9 + value, 8, 0, 0])


def philips(ds: Dataset, value: int) -> None:
    ds.add_new((0x2001, 0x0010), "LO", "Philips Imaging DD 001")
    ds.add_new((0x2001, 0x1003), "FL", float(value))


@pytest.mark.parametrize("maker", [siemens, ge, philips])
def test_b_values_in_private_tags_name_the_volumes(
    tmp_path: Path, maker: Callable[[Dataset, int], None]
) -> None:
    for seed, value in enumerate((0, 800)):

        def change(ds: Dataset, _: int, value: int = value) -> None:
            ds.SeriesInstanceUID = "1.2.4"
            maker(ds, value)

        for path in dicoms.series(tmp_path / "x", modality="MR", seed=seed, change=change):
            path.rename(tmp_path / f"{seed}-{path.name}")
    names = [case.case_id for case in find_cohort([tmp_path]).cases]
    assert [name.rsplit("_", 1)[1] for name in names] == ["b0", "b800"]


def test_a_mosaic_is_refused_by_that_word(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    dicoms.series(tmp_path, modality="MR", change=change)
    error = refused(tmp_path)
    assert error.found == "a mosaic of slices (Siemens)"
    assert "dcm2niix" in error.fix


# --- pixels ----------------------------------------


def table(ds: Dataset, _: int, *, kind: str = "HU") -> None:
    """A modality table instead of slope and intercept: v -> 3 v."""
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [2048, 0, 16], kind
    lut.LUTData = (3 * np.arange(2048)).astype(np.uint16).tobytes()
    ds.ModalityLUTSequence = Items([lut])
    ds.PixelRepresentation = 0
    del ds.RescaleSlope, ds.RescaleIntercept


def test_pixels_are_scaled_by_a_modality_table_where_there_is_one(tmp_path: Path) -> None:
    dicoms.series(tmp_path, change=table)
    expected = [3.0 * dicoms.stored(k) for k in range(5)]
    np.testing.assert_array_equal(planes(read(tmp_path)), expected)


def test_a_ct_table_in_other_units_than_hu_is_refused(tmp_path: Path) -> None:
    dicoms.series(tmp_path, change=lambda ds, number: table(ds, number, kind="OD"))
    assert refused(tmp_path).found == "a CT in units of OD"


@pytest.mark.parametrize(
    ("compressor", "syntax"),
    [("JPEG", "1.2.840.10008.1.2.4.70"), ("JPEG2000", "1.2.840.10008.1.2.4.90")],
)
@pytest.mark.parametrize("signed", [0, 1])
def test_losslessly_compressed_pixels_are_the_same(
    tmp_path: Path, compressor: str, syntax: str, signed: int
) -> None:
    """The compressed pixels are made by GDCM, as archives do."""
    size = (64, 48)

    def whole(number: int) -> NDArray[np.int64]:
        return dicoms.stored(number, size=size).astype(np.int64) - 1000 * signed

    def change(ds: Dataset, number: int) -> None:
        pixels = whole(number).astype(np.int16 if signed else np.uint16)
        ds.Rows, ds.Columns = size
        image = sitk.GetImageFromArray(pixels[None])
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(image)
        packed = pydicom.dcmread(tmp_path / "packed.dcm")
        assert packed.file_meta.TransferSyntaxUID == syntax
        ds.PixelData, ds.PixelRepresentation = packed.PixelData, signed
        ds["PixelData"].is_undefined_length = True

    paths = dicoms.series(tmp_path / "a", change=change, syntax=UID(syntax))
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == syntax
    expected = [whole(k) - 1024 for k in range(5)]
    np.testing.assert_array_equal(planes(read(tmp_path / "a")), expected)


def test_a_compression_that_nothing_here_decodes_is_refused_by_its_name(tmp_path: Path) -> None:
    syntax = UID("1.2.840.10008.1.2.4.201")

    def change(ds: Dataset, _: int) -> None:
        ds.PixelData = encapsulate([bytes(100)])
        ds["PixelData"].is_undefined_length = True

    dicoms.series(tmp_path, change=change, syntax=syntax)
    error = refused(tmp_path)
    assert error.found == (
        "pixels compressed as High-Throughput JPEG 2000 Image Compression (Lossless Only) "
        "(1.2.840.10008.1.2.4.201)"
    )
    assert "pylibjpeg-openjpeg" in error.fix


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_a_pet_without_its_scale_is_refused_by_the_tag(tmp_path: Path, tag: str) -> None:
    def change(ds: Dataset, number: int) -> None:
        dicoms.pet(ds, number)
        del ds[tag]

    dicoms.series(tmp_path, modality="PT", change=change)
    assert refused(tmp_path).found == f"a slice without {tag}"


def test_an_enhanced_ct_is_hu_by_the_scale_of_each_frame(tmp_path: Path) -> None:
    path = dicoms.multi_frame(tmp_path / "scan", [0, 2, 4])
    ds = pydicom.dcmread(path)
    ds.Modality, ds.SOPClassUID = "CT", dicoms.STORAGE + "2.1"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.save_as(path)
    volume = read_volume(path)
    assert volume.modality == "ct"
    expected = [2.0 * dicoms.stored(2 - k) + 2 * k for k in range(3)]
    np.testing.assert_array_equal(planes(volume), expected)


def test_an_absurd_matrix_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.Rows = ds.Columns = 65535

    dicoms.series(tmp_path, change=change)
    assert "65535 x 65535 pixels" in refused(tmp_path).found


def test_a_drift_that_would_need_a_far_larger_grid_is_refused(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.PixelSpacing = [0.001, 0.001]

    dicoms.series(tmp_path, stack=(0, 0.1, 0.995), change=change)
    assert refused(tmp_path).found == "a gantry tilt of 5.7 degrees over 5 slices"


def test_the_grid_of_every_awkward_series_is_known_without_its_pixels(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "a", change=table)
    dicoms.series(tmp_path / "b", change=anonymous)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    for case in find_cohort([tmp_path]).cases:
        assert read_grid(case.scan).grid == read_volume(case.scan).grid
