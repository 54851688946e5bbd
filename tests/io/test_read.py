from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

import scans
from mass3d.errors import DataError
from mass3d.io.read import read_grid, read_label, read_stored, read_volume
from mass3d.volume.volume import Volume
from oracles import geometry

OBLIQUE = geometry.affine(
    geometry.orientations()[13], spacing_mm=(1.0, 2.5, 0.75), tilt_deg=(12.0, -7.0, 21.0)
)
SHEARED = np.array([[2.0, 0, 0, 0], [0, 2, 0.6, 0], [0, 0, 3, 0], [0, 0, 0, 1]])  # a tilted gantry
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def check_against_nibabel(volume: Volume, path: Path) -> None:
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    np.testing.assert_array_equal(np.array(volume.source.affine), image.affine)
    np.testing.assert_array_equal(
        volume.source.from_canonical(volume.voxels), image.get_fdata().astype(np.float32)
    )
    assert volume.grid == volume.source.grid


def check_against_itk(volume: Volume, path: Path) -> None:
    image = sitk.ReadImage(str(path))
    in_file = volume.source.from_canonical(volume.voxels)
    np.testing.assert_array_equal(in_file.T, sitk.GetArrayFromImage(image))
    affine = np.array(volume.source.affine)
    for index in [(0, 0, 0), *np.ndindex(2, 2, 2), tuple(n - 1 for n in in_file.shape)]:
        lps = image.TransformIndexToPhysicalPoint([int(i) for i in index])
        ours = (LPS_TO_RAS @ affine @ np.array([*index, 1.0]))[:3]
        np.testing.assert_allclose(ours, lps, rtol=0, atol=1e-4)
    assert volume.grid == volume.source.grid


# --- NIfTI ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_nifti_is_read_in_both_versions_and_byte_orders_plain_and_zipped(
    tmp_path: Path, version: int, byte_order: Literal["<", ">"], zipped: bool
) -> None:
    content = scans.nifti_bytes(
        scans.voxels(np.float32), OBLIQUE, version=version, byte_order=byte_order
    )
    path = tmp_path / ("a.nii.gz" if zipped else "a.nii")
    path.write_bytes(gzip.compress(content) if zipped else content)
    volume = read_volume(path)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.dtype.isnative
    assert volume.voxels.flags.c_contiguous
    assert volume.repairs == ()
    assert volume.path == path
    check_against_nibabel(volume, path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_type_of_number_is_read(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(dtype)))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


@pytest.mark.parametrize("axes", geometry.orientations())
def test_voxels_are_where_nibabel_has_them_in_every_orientation(
    tmp_path: Path, axes: np.ndarray
) -> None:
    path = tmp_path / "a.nii"
    affine = geometry.affine(axes, tilt_deg=(5.0, 8.0, -3.0))
    path.write_bytes(scans.nifti_bytes(scans.voxels(), affine))
    check_against_nibabel(read_volume(path), path)


def test_a_scan_with_a_qform_alone_is_where_nibabel_has_it(tmp_path: Path) -> None:
    def only_qform(header: nib.Nifti1Header) -> None:
        header.set_qform(OBLIQUE, code=1)
        header.set_sform(None, code=0)

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=only_qform))
    volume = read_volume(path)
    assert volume.repairs == ()
    check_against_nibabel(volume, path)
    np.testing.assert_allclose(np.array(volume.source.affine), OBLIQUE, atol=1e-4)


def test_scaled_integers_become_the_numbers_they_stand_for(tmp_path: Path) -> None:
    def scale(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -1024

    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(scans.nifti_bytes(scans.voxels(), header=scale)))
    volume = read_volume(path)
    check_against_nibabel(volume, path)
    np.testing.assert_array_equal(
        volume.source.from_canonical(volume.voxels), scans.voxels() * 0.5 - 1024
    )


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_that_says_nothing_is_no_slope(tmp_path: Path, slope: float) -> None:
    def scale(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = slope, 7

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=scale))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


def test_one_volume_in_a_4d_file_is_a_scan_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels()[..., None, None], OBLIQUE))
    volume = read_volume(path)
    assert volume.repairs == ("dropped empty axes of a 5D file",)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


@pytest.mark.parametrize("extra", [1, 5000])
def test_bytes_after_the_voxels_are_told(tmp_path: Path, extra: int) -> None:
    path = tmp_path / "a.nii"
    content = scans.nifti_bytes(scans.voxels()) + bytes(extra)
    for stored in (content, gzip.compress(content)):
        path.write_bytes(stored)
        volume = read_volume(path)
        assert volume.repairs == (f"ignored {extra} bytes after the voxels",)
        np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


def test_a_gzip_file_may_have_several_members_and_garbage_after_them(tmp_path: Path) -> None:
    content = scans.nifti_bytes(scans.voxels())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    volume = read_volume(path)
    assert volume.repairs == ()
    path.write_bytes(path.read_bytes() + b"garbage")
    again = read_volume(path)
    assert again.repairs == ("ignored what follows the end of the gzip data",)
    np.testing.assert_array_equal(again.voxels, volume.voxels)


@pytest.mark.parametrize("row", [(0, 0, 0, 0), (np.nan, 0, 0, 0)])
def test_the_qform_is_taken_and_told_where_the_sform_is_none(
    tmp_path: Path, row: tuple[float, ...]
) -> None:
    def spoil(header: nib.Nifti1Header) -> None:
        header.set_qform(OBLIQUE, code=1)
        header["srow_x"] = header["srow_y"] = header["srow_z"] = row
        header["sform_code"] = 1

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=spoil))
    volume = read_volume(path)
    np.testing.assert_allclose(np.array(volume.source.affine), OBLIQUE, atol=1e-4)
    assert volume.repairs == ("took the qform; the sform is no place and directions",)


# --- NRRD and MetaImage ---------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_nrrd_and_metaimage_are_read_attached_and_detached_plain_and_packed(
    tmp_path: Path, suffix: str, packed: bool
) -> None:
    image = scans.itk_image(direction=OBLIQUE[:3, :3] / np.linalg.norm(OBLIQUE[:3, :3], axis=0))
    path = scans.write_itk(tmp_path / f"a{suffix}", image, packed=packed)
    volume = read_volume(path)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.flags.c_contiguous
    assert volume.repairs == ()
    check_against_itk(volume, path)


@pytest.mark.parametrize("axes", geometry.orientations())
def test_voxels_are_where_itk_has_them_in_every_orientation(
    tmp_path: Path, axes: np.ndarray
) -> None:
    path = scans.write_itk(tmp_path / "a.nrrd", scans.itk_image(direction=axes))
    check_against_itk(read_volume(path), path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    "kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_type_of_number_is_read_from_itk_formats(
    tmp_path: Path, suffix: str, kind: type, packed: bool
) -> None:
    image = scans.itk_image(scans.voxels(kind))
    path = scans.write_itk(tmp_path / f"a{suffix}", image, packed=packed)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


def test_a_metaimage_in_the_other_byte_order_is_read(tmp_path: Path) -> None:
    image = scans.itk_image(scans.voxels().byteswap())
    path = scans.write_itk(tmp_path / "a.mha", image, BinaryDataByteOrderMSB="True")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


@pytest.mark.parametrize(
    ("space", "to_ras"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_the_space_of_a_nrrd_is_heeded(
    tmp_path: Path, space: str, to_ras: tuple[int, int, int]
) -> None:
    path = scans.write_itk(tmp_path / "a.nrrd", scans.itk_image(), space=space)
    volume = read_volume(path)
    expected = np.eye(4)
    expected[:3] = np.diag(to_ras) @ [[1, 0, 0, 4], [0, 2, 0, -5], [0, 0, 3, 6.5]]
    np.testing.assert_array_equal(np.array(volume.source.affine), expected)
    assert volume.repairs == ()


def test_one_volume_in_a_4d_metaimage_is_a_scan_and_that_is_told(tmp_path: Path) -> None:
    image = sitk.JoinSeries([scans.itk_image()])
    path = scans.write_itk(tmp_path / "a.mha", image)
    volume = read_volume(path)
    assert volume.repairs == ("dropped empty axes of a 4D file",)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())


# --- what the name says does not matter -------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    plain = scans.nifti_bytes(scans.voxels())
    second = scans.nifti_bytes(scans.voxels(), version=2, byte_order=">")
    nrrd = scans.write_itk(folder / "x.nrrd", scans.itk_image()).read_bytes()
    mha = scans.write_itk(folder / "x.mha", scans.itk_image(), packed=True).read_bytes()
    return {
        "nifti": plain,
        "zipped": gzip.compress(plain),
        "second": gzip.compress(second),
        "nrrd": nrrd,
        "mha": mha,
    }


@pytest.mark.parametrize("content", ["nifti", "zipped", "second", "nrrd", "mha"])
@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.NII.GZ", "a.nrrd", "a.mha", "a", "a.b.c", "a.hdr", "a.gz"]
)
def test_a_scan_is_read_by_what_it_holds_whatever_its_name(
    tmp_path: Path, content: str, name: str
) -> None:
    (tmp_path / "made").mkdir()
    path = tmp_path / name
    path.write_bytes(contents(tmp_path / "made")[content])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())
    assert read_grid(path).grid == volume.grid


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_the_grid_is_known_without_the_voxels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if ".nii" in name:
        content = scans.nifti_bytes(scans.voxels(), OBLIQUE)
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    else:
        scans.write_itk(path, scans.itk_image())
    volume = read_volume(path)
    header = read_grid(path)
    assert (header.grid, header.source) == (volume.grid, volume.source)


# --- guesses and repairs are told -------------------------------------------------------------


def test_a_nifti_without_orientation_is_read_as_nibabel_does_and_that_is_told(
    tmp_path: Path,
) -> None:
    def neither(header: nib.Nifti1Header) -> None:
        header["qform_code"] = header["sform_code"] = 0
        header["pixdim"][1:4] = 1, 2, 3

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=neither))
    volume = read_volume(path)
    check_against_nibabel(volume, path)
    assert volume.spacing_mm == (3, 2, 1)
    assert volume.repairs == (
        "the header gives no orientation; took the axes as left, anterior, superior",
    )


@pytest.mark.parametrize("space", ["", "scanner-xyz"])
def test_a_nrrd_without_orientation_is_read_as_itk_does_and_that_is_told(
    tmp_path: Path, space: str
) -> None:
    path = scans.write_itk(tmp_path / "a.nrrd", scans.itk_image(), space=space or "scanner-xyz")
    if not space:
        scans.write_itk(
            path, scans.itk_image(), space="", space_directions="", space_origin="", kinds=""
        )
        path.write_bytes(path.read_bytes().replace(b"\nsizes", b"\nspacings: 1 2 3\nsizes"))
    volume = read_volume(path)
    check_against_itk(volume, path)
    assert volume.spacing_mm == (3, 2, 1)
    assert volume.repairs == (
        "the header gives no orientation; took the axes as left, posterior, superior",
    )


def test_a_qform_that_contradicts_the_sform_is_told(tmp_path: Path) -> None:
    def move(header: nib.Nifti1Header) -> None:
        header["qoffset_x"] += 12

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=lambda h: h.set_qform(np.eye(4), 1)))
    assert read_volume(path).repairs == ()

    def both(header: nib.Nifti1Header) -> None:
        header.set_qform(np.eye(4), code=1)
        move(header)

    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=both))
    volume = read_volume(path)
    check_against_nibabel(volume, path)
    assert volume.repairs == ("took the sform; the qform lies up to 12 mm away",)


def test_a_qform_that_is_no_rotation_does_not_matter_beside_an_sform(tmp_path: Path) -> None:
    def turn(header: nib.Nifti1Header) -> None:
        header["qform_code"], header["quatern_b"] = 1, 3

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), OBLIQUE, header=turn))
    volume = read_volume(path)
    np.testing.assert_allclose(np.array(volume.source.affine), OBLIQUE, atol=1e-4)
    assert volume.repairs == ("took the sform; the qform lies up to inf mm away",)


@pytest.mark.parametrize("edge", [0.0, -1.0, np.nan, np.inf, 3.0])
def test_a_spacing_that_contradicts_the_sform_is_told(tmp_path: Path, edge: float) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["pixdim"][1] = edge

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(), header=change))
    volume = read_volume(path)
    assert volume.spacing_mm == (1, 1, 1)
    told = f"took the spacing from the sform; pixdim says {edge:g}, 1, 1"
    assert volume.repairs == (told,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_few_voxels_that_are_no_numbers_become_the_lowest_and_that_is_told(
    tmp_path: Path, bad: float
) -> None:
    image = scans.voxels(np.float64) - 50
    image[1, 2, 3] = image[4, 4, 4] = bad
    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(image))
    volume = read_volume(path)
    found = volume.source.from_canonical(volume.voxels)
    lowest = image[np.isfinite(image)].min()
    assert found[1, 2, 3] == found[4, 4, 4] == lowest
    sound = np.abs(image) < 1e30
    np.testing.assert_array_equal(found[sound], image[sound])
    assert volume.repairs == ("replaced 2 NaN or infinite voxels by the lowest value",)


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd"])
def test_reading_says_nothing_on_the_console(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    if name == "a.nii":

        def odd(header: nib.Nifti1Header) -> None:
            header["pixdim"][:4] = 0, -1, 1, 1
            header["bitpix"] = 3

        path.write_bytes(scans.nifti_bytes(scans.voxels(), header=odd))
        read_volume(path)
    else:
        scans.write_itk(path, scans.itk_image(), packed=True)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError):
            read_volume(path)
    assert capfd.readouterr() == ("", "")


# --- labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8", "f4", "f8"])
def test_labels_are_whole_numbers_however_they_are_stored(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.nii"
    image = scans.voxels(dtype)
    image[0, 0, 0], image[0, 0, 1] = 0, 255 if dtype == "u1" else 32767
    path.write_bytes(scans.nifti_bytes(image, OBLIQUE))
    label = read_label(path)
    assert label.voxels.dtype == np.uint16
    assert label.voxels.flags.c_contiguous
    np.testing.assert_array_equal(label.source.from_canonical(label.voxels), image)
    assert label.grid == label.source.grid


def test_a_scaled_label_is_read_if_its_numbers_are_whole(tmp_path: Path) -> None:
    def double(header: nib.Nifti1Header) -> None:
        header["scl_slope"] = 2

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels("u1"), header=double))
    label = read_label(path)
    np.testing.assert_array_equal(label.source.from_canonical(label.voxels), 2 * scans.voxels())


def test_label_values_a_hair_off_are_rounded_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels(np.float64) + 1e-6))
    label = read_label(path)
    np.testing.assert_array_equal(label.source.from_canonical(label.voxels), scans.voxels())
    assert label.repairs == ("rounded label values, which were up to 1e-06 off whole numbers",)


def test_a_label_scaled_by_a_rounded_slope_is_whole(tmp_path: Path) -> None:
    def scale(header: nib.Nifti1Header) -> None:
        header["scl_slope"] = 0.1  # which no float32 holds

    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(scans.voxels() * 10, header=scale))
    label = read_label(path)
    np.testing.assert_array_equal(label.source.from_canonical(label.voxels), scans.voxels())


def test_an_empty_label_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(scans.nifti_bytes(np.zeros(scans.SHAPE, np.uint8)))
    assert not read_label(path).voxels.any()


def test_a_label_may_lie_in_another_axis_order_than_its_scan(tmp_path: Path) -> None:
    image, label = tmp_path / "image.nii", tmp_path / "label.nii"
    image.write_bytes(scans.nifti_bytes(scans.voxels()))
    turned = np.eye(4)[:, [1, 2, 0, 3]]  # the file's first axis is the world's y, and so on
    label.write_bytes(scans.nifti_bytes(scans.voxels().transpose(1, 2, 0), turned))
    volume = read_volume(image)
    found = read_label(label, like=volume)
    assert found.source.permutation != volume.source.permutation
    np.testing.assert_array_equal(found.voxels, volume.voxels)


def test_a_label_a_hair_off_its_scan_gets_exactly_the_grid_of_the_scan(tmp_path: Path) -> None:
    image, label = tmp_path / "image.nii", tmp_path / "label.nii"
    image.write_bytes(scans.nifti_bytes(scans.voxels(), OBLIQUE))
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.05 * 0.75  # a twentieth of the shortest edge
    label.write_bytes(scans.nifti_bytes(scans.voxels("u1"), moved))
    volume = read_volume(image)
    found = read_label(label, like=volume)
    assert found.grid == volume.grid
    assert found.source.affine != volume.source.affine  # what the file said is not lost


# --- NRRD as other programs write it --------------------------------------------------------------


def nrrd(folder: Path, *lines: str, content: bytes, name: str = "a.nrrd") -> Path:
    """A NRRD of (i, j, k) voxels of 1 x 2 x 3 mm with these lines and this payload."""
    head = ("NRRD0005", "type: short", "dimension: 3", "sizes: 5 6 7", "spacings: 1 2 3")
    text = "\n".join((*head, *lines, "", ""))
    path = folder / name
    path.write_bytes(text.encode() + content)
    return path


STORED = scans.voxels("<i2").tobytes(order="F")
WORDS = b" ".join(str(x).encode() for x in scans.voxels().ravel(order="F"))


@pytest.mark.parametrize(
    ("lines", "content"),
    [
        (("encoding: raw", "endian: little"), STORED),
        (("encoding: gzip", "endian: little"), gzip.compress(STORED)),
        (("encoding: gz", "endian: little"), zlib.compress(STORED)),
        (("encoding: bzip2", "endian: little"), bz2.compress(STORED)),
        (("encoding: ascii",), WORDS),
        (("encoding: hex", "endian: little"), STORED.hex().encode()),
        (("encoding: raw", "endian: big"), scans.voxels(">i2").tobytes(order="F")),
        (("encoding: raw", "endian: little", "byte skip: 5"), b"12345" + STORED),
        (("encoding: raw", "endian: little", "byte skip: -1"), b"whatever" + STORED),
        (("encoding: raw", "endian: little", "line skip: 2"), b"one\ntwo\n" + STORED),
        (("encoding: gzip", "endian: little", "byte skip: 3"), gzip.compress(b"123" + STORED)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_voxels_of_a_nrrd_are_read_in_every_encoding(
    tmp_path: Path, lines: tuple[str, ...], content: bytes
) -> None:
    volume = read_volume(nrrd(tmp_path, *lines, content=content))
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())
    assert len(volume.repairs) == 1  # that there is no orientation


@pytest.mark.parametrize("field", ["x%02d.raw 3 5 1", "x%02d.raw 5 3 -1", "LIST\nx03.raw\nx04.raw"])
def test_voxels_of_a_nrrd_may_lie_in_several_files(tmp_path: Path, field: str) -> None:
    parts = [STORED[start : start + len(STORED) // 7] for start in range(0, len(STORED), 60)]
    numbers = range(3, 6) if "3 5" in field else range(5, 2, -1) if "5 3" in field else range(3, 5)
    sizes = f"sizes: 5 6 {len(numbers)}"
    for number, part in zip(numbers, parts, strict=False):
        (tmp_path / f"x{number:02}.raw").write_bytes(part)
    lines = ("encoding: raw", "endian: little", f"data file: {field}")
    path = nrrd(tmp_path, *lines, content=b"", name="a.nhdr")
    path.write_bytes(path.read_bytes().replace(b"sizes: 5 6 7", sizes.encode()).rstrip())
    volume = read_volume(path)
    expected = scans.voxels()[:, :, : len(numbers)]
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), expected)


def test_bytes_after_the_voxels_of_a_nrrd_are_told(tmp_path: Path) -> None:
    lines = ("encoding: raw", "endian: little")
    volume = read_volume(nrrd(tmp_path, *lines, content=STORED + bytes(12)))
    assert "ignored 12 bytes after the voxels" in volume.repairs


@pytest.mark.parametrize("center", ["", "centers: cell cell cell", "centers: node node node"])
def test_the_least_of_an_axis_is_where_itk_has_it(tmp_path: Path, center: str) -> None:
    lines = [line for line in ("axis mins: 10 20 30", center) if line]
    path = nrrd(tmp_path, "encoding: raw", "endian: little", *lines, content=STORED)
    check_against_itk(read_volume(path), path)


@pytest.mark.parametrize(
    "fields",
    [
        {"BinaryData": "False"},
        {"ElementDataFile": "x.raw", "BinaryData": "True\nHeaderSize = 9"},
        {"ElementDataFile": "x.raw", "BinaryData": "True\nHeaderSize = -1"},
        {"ElementDataFile": "x%03d.raw 2 8 1"},
        {"TransformMatrix": "", "Offset": "1 2 3", "CenterOfRotation": "0 0 0"},
        {"ElementSpacing": "1 2 3", "Offset": "", "TransformMatrix": ""},
    ],
    ids=str,
)
def test_a_metaimage_is_read_as_itk_reads_it(tmp_path: Path, fields: dict[str, str]) -> None:
    path = scans.write_itk(tmp_path / "a.mha", scans.itk_image(), packed=False, **fields)
    (tmp_path / "x.raw").write_bytes(b"123456789" + STORED)
    for number in range(7):
        (tmp_path / f"x{number + 2:03}.raw").write_bytes(STORED[number * 60 :][:60])
    if "BinaryData" in fields and "ElementDataFile" not in fields:
        path.write_bytes(path.read_bytes().replace(STORED, WORDS + b"\n"))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.source.from_canonical(volume.voxels), scans.voxels())
    check_against_itk(volume, path)


def test_intensities_that_a_metaimage_scales_are_refused(tmp_path: Path) -> None:
    slope = "1 2 3\nElementToIntensityFunctionSlope = 2"
    path = scans.write_itk(tmp_path / "a.mha", scans.itk_image(), ElementSpacing=slope)
    with pytest.raises(DataError, match="intensities scaled by ElementToIntensityFunction"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_field_that_is_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    path = scans.write_itk(tmp_path / name, scans.itk_image())
    line = b"DimSize = 5 6 7\n" if name == "a.mha" else b"sizes: 5 6 7\n"
    path.write_bytes(path.read_bytes().replace(line, line + line))
    with pytest.raises(DataError, match="twice"):
        read_volume(path)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("affine", [np.diag([-2.0, 3.0, -4.0, 1.0]), SHEARED])
def test_a_scan_as_it_is_stored_is_the_same_scan(
    tmp_path: Path, kind: Any, affine: NDArray[np.float64]
) -> None:
    values = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(kind)
    path = tmp_path / "scan.nii"
    path.write_bytes(scans.nifti_bytes(values, affine))
    stored, scan = read_stored(path), read_volume(path)
    np.testing.assert_array_equal(stored.voxels, scan.voxels)
    assert (stored.grid, stored.source, stored.repairs) == (scan.grid, scan.source, scan.repairs)
    whole = affine is not SHEARED and kind is not np.float32
    assert stored.voxels.dtype == (kind if whole else np.float32)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((3, 4, 5), 7, np.int16), "the same value"),
        (np.eye(3, dtype=np.int16)[..., None], "a single slice"),
    ],
)
def test_what_is_no_scan_is_not_read_as_it_is_stored(
    tmp_path: Path, values: NDArray[np.int16], words: str
) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(scans.nifti_bytes(values, np.eye(4)))
    with pytest.raises(DataError, match=words):
        read_stored(path)
