"""Every bad input is refused with file, found, expected and fix; none is read wrongly."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk

import scans
from mass3d.errors import DataError
from mass3d.io.formats.sniff import READABLE
from mass3d.io.read import read_grid, read_label, read_volume
from oracles import geometry

Maker = Callable[[Path], Any]
Fields = dict[str, Any]  # of a header

# what is expected, and the fix
DAMAGED = ("a whole file", "Copy or export it again.")
EMPTY = (READABLE, "Copy or export it again.")
PAIR = (READABLE, "Convert the pair to one .nii file.")
UNPACK = (READABLE, "Unpack it; these formats have a compression of their own.")
SERIES = (
    "one DICOM series",
    "Name the folder that holds all slices of one series, and of no other.",
)
TOGETHER = (
    "header and voxels in one folder",
    "Copy both, under the names they were written with.",
)
STACK = ("one 3D volume", "Stack the slices of the scan into one file.")
THICKER = (
    "a volume of at least 2 voxels along every axis",
    "Stack the slices of the scan into one file.",
)
SPLIT = ("one 3D volume", "Split a series into one file per volume.")
NUMBERS = ("numbers in at least half of the scan", "Export the scan again.")
IMAGE = ("an image", "Export the scan again; this file shows nothing.")
SCALE = ("a finite scl_slope and scl_inter", "Repair the header with the tool that wrote it.")
PLACE = (
    "the place of the voxels in mm",
    "Repair the geometry in the header with the tool that wrote it.",
)
GREY = ("one number per voxel", "Export the scan as a grey-value image.")
EDGES = (
    "edges between 0.0001 and 1000 mm",
    "Repair the spacing in the header with the tool that wrote it.",
)
SKEWED = (
    "perpendicular axes, or a shear of at most 45 degrees",
    "Resample the scan to a regular grid with the tool that made it.",
)
NO_FORMAT = (READABLE, "This is not an image file of these formats, whatever its name says.")
IN_MM = ("lengths in mm", "Convert the header to mm with the tool that wrote it.")
ONE_EDGE = (
    "one edge per axis, in mm",
    "Add the spacing to the header with the tool that wrote it.",
)

NO_SERIES = r"no series \(1 x DICOM without an image \(no modality\)\)"


class Bad(NamedTuple):
    """A file that must be refused."""

    name: str
    make: Maker
    found: str  # a regular expression
    expected: str
    fix: str
    in_header: bool = True  # whether the header alone shows it


def broken(detail: str) -> str:
    return rf"a damaged or incomplete image \({detail}\)"


def raw(content: bytes) -> Maker:
    return lambda path: path.write_bytes(content)


def nifti(image: np.ndarray | None = None, affine: Any = None, **changes: Any) -> Maker:
    """A NIfTI file with some header fields changed; `pixdim` holds the three edges."""

    def change(header: Any) -> None:
        for name, value in changes.items():
            if name in {"pixdim", "dim"}:
                header[name][1:4] = value
            elif name == "dim0":
                header["dim"][0] = value
            else:
                header[name] = value

    stored = scans.voxels() if image is None else image
    return lambda path: path.write_bytes(scans.nifti_bytes(stored, affine, header=change))


def spaced(edge: float, **codes: Any) -> Maker:
    return nifti(pixdim=(edge, 1, 1), **codes)


def itk(image: sitk.Image | None = None, *, packed: bool = False, **fields: Any) -> Maker:
    return lambda path: scans.write_itk(path, image or scans.itk_image(), packed=packed, **fields)


def cut(make: Maker, *, end: int) -> Maker:
    """The same file with its last bytes missing."""

    def shorten(path: Path) -> None:
        make(path)
        path.write_bytes(path.read_bytes()[:end])

    return shorten


def flipped(make: Maker, *, place: int) -> Maker:
    """The same file with one byte changed."""

    def change(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        content[place] ^= 0xFF
        path.write_bytes(content)

    return change


def packed_away(path: Path) -> None:
    """A detached header without its voxels."""
    scans.write_itk(path, scans.itk_image())
    path.with_suffix(".raw").unlink()


NIFTI = scans.nifti_bytes(scans.voxels())
ZIPPED = gzip.compress(NIFTI)
LARGE = gzip.compress(scans.nifti_bytes(np.random.default_rng(0).normal(size=(60, 60, 60))))
SHEARED = np.array([[1, 1.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SINGULAR = np.diag([1.0, 1.0, 0.0, 1.0])
FLAT = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NO_SPACE: Fields = {"space": "", "space_origin": "", "space_directions": ""}
NO_FORM: Fields = {"qform_code": 0, "sform_code": 0}
Q_FORM: Fields = {"qform_code": 1, "sform_code": 0}
HALF_NAN = np.where(np.arange(np.prod(scans.SHAPE)).reshape(scans.SHAPE) % 2, np.nan, 1.0)
FLOATS = sitk.Cast(scans.itk_image(), sitk.sitkFloat32)
COMPLEX = sitk.RealAndImaginaryToComplex(FLOATS, FLOATS)
RGB = np.zeros(scans.SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])

FILES = [
    # not an image, or not a whole one
    Bad("empty.nii.gz", raw(b""), "an empty file", *EMPTY),
    Bad(
        "text.nii.gz", raw(b"not an image"), "content that begins with b'not an image'", *NO_FORMAT
    ),
    Bad(
        "zipped.nii.gz", raw(gzip.compress(b"text")), "content that begins with b'text'", *NO_FORMAT
    ),
    Bad(
        "short.nii",
        raw(NIFTI[:200]),
        broken("it ends within the header, after 200 bytes"),
        *DAMAGED,
    ),
    Bad(
        "short.nii.gz",
        raw(gzip.compress(NIFTI[:200])),
        broken("it ends within .* 200 bytes"),
        *DAMAGED,
    ),
    Bad(
        "half.nii",
        raw(NIFTI[:-10]),
        broken("762 bytes; the header promises 772"),
        *DAMAGED,
    ),
    Bad(
        "half.nii.gz",
        raw(ZIPPED[: len(ZIPPED) // 2]),
        broken("it ends before its gzip data do"),
        *DAMAGED,
        False,
    ),
    Bad(
        "tail.nii.gz", raw(ZIPPED[:-4]), broken("it ends before its gzip data do"), *DAMAGED, False
    ),
    Bad(
        "inner.nii.gz",
        raw(gzip.compress(NIFTI[:-10])),
        broken("410 bytes of voxels; the header promises 420"),
        *DAMAGED,
        False,
    ),
    Bad(
        "bits.nii.gz",
        flipped(raw(LARGE), place=-6),
        broken("Error -3 .*incorrect data check"),
        *DAMAGED,
        False,
    ),
    Bad("flip.nii.gz", flipped(raw(LARGE), place=-3000), broken(".*"), *DAMAGED, False),
    Bad("start.nii.gz", raw(b"\x1f\x8b" + bytes(100)), broken("Error -3 .*"), *DAMAGED),
    Bad(
        "huge.nii",
        nifti(dim=30000),
        broken("772 bytes; the header promises 54000000000352"),
        *DAMAGED,
    ),
    Bad(
        "offset.nii",
        nifti(vox_offset=1e6),
        broken("772 bytes; the header promises 1000420"),
        *DAMAGED,
    ),
    Bad("dims.nii", nifti(dim0=0), broken("it has 0 dimensions"), *DAMAGED),
    Bad("dims_8.nii", nifti(dim0=8), broken("it has 8 dimensions"), *DAMAGED),
    Bad(
        "start.nii",
        nifti(vox_offset=0),
        broken("its voxels begin at byte 0, within the header"),
        *DAMAGED,
    ),
    Bad("type.nii", nifti(datatype=1), broken("data code 1 not supported"), *DAMAGED),
    Bad("pair.hdr", nifti(magic=b"ni1"), "a header of Analyze or of a NIfTI pair .*", *PAIR),
    Bad("analyze.hdr", nifti(magic=b""), "a header of Analyze or of a NIfTI pair .*", *PAIR),
    Bad("scan.dcm", raw(bytes(128) + b"DICM" + bytes(500)), NO_SERIES, *SERIES),
    Bad("scan.nii", raw(bytes(128) + b"DICM" + bytes(500)), NO_SERIES, *SERIES),
    Bad(
        "half.mha",
        cut(itk(), end=-10),
        broken("410 bytes of voxels; the header promises 420"),
        *DAMAGED,
    ),
    Bad(
        "half.nrrd",
        cut(itk(), end=-10),
        broken("410 bytes of voxels; the header promises 420"),
        *DAMAGED,
    ),
    Bad(
        "tail.mha",
        cut(itk(packed=True), end=-4),
        broken("its compressed voxels have no end"),
        *DAMAGED,
        False,
    ),
    Bad(
        "tail.nrrd",
        cut(itk(packed=True), end=-4),
        broken("its compressed voxels have no end"),
        *DAMAGED,
        False,
    ),
    Bad("flip.mha", flipped(itk(packed=True), place=-100), broken("Error -3 .*"), *DAMAGED, False),
    Bad("flip.nrrd", flipped(itk(packed=True), place=-100), broken("Error -3 .*"), *DAMAGED, False),
    Bad("header.mha", cut(itk(), end=90), broken("it ends within the header"), *DAMAGED),
    Bad("header.nrrd", cut(itk(), end=90), broken("its header gives no sizes"), *DAMAGED),
    Bad(
        "alone.mhd",
        packed_away,
        "a header whose voxels lie in alone.raw, which is not there",
        *TOGETHER,
    ),
    Bad(
        "alone.nhdr",
        packed_away,
        "a header whose voxels lie in alone.raw, which is not there",
        *TOGETHER,
    ),
    Bad(
        "huge.mha",
        itk(DimSize="7000 6000 5000"),
        broken("420 bytes .* promises 420000000000"),
        *DAMAGED,
    ),
    Bad(
        "huge.nrrd",
        itk(sizes="7000 6000 5000"),
        broken("420 bytes .* promises 420000000000"),
        *DAMAGED,
    ),
    Bad(
        "zipped.nrrd.gz",
        raw(gzip.compress(b"NRRD0004\n")),
        "a gzip file around a nrrd file",
        *UNPACK,
    ),
    # not one volume of one number per voxel
    Bad("two_d.nii", nifti(scans.voxels()[..., 0]), "a 2D image of 5 x 6 voxels", *STACK),
    Bad(
        "slice.nii",
        nifti(scans.voxels()[..., :1]),
        r"a single slice \(5 x 6 x 1 voxels\)",
        *THICKER,
        False,
    ),
    Bad("series.nii", nifti(np.zeros((5, 6, 7, 3))), "a 4D image of 5 x 6 x 7 x 3 voxels", *SPLIT),
    Bad(
        "vector.nii",
        nifti(np.zeros((5, 6, 7, 1, 3))),
        "a 5D image of 5 x 6 x 7 x 1 x 3 voxels",
        *SPLIT,
    ),
    Bad("none.nii", nifti(dim=(0, 6, 7)), "a 3D image of 0 x 6 x 7 voxels", *STACK),
    Bad("negative.nii", nifti(dim=(-5, 6, 7)), "a 3D image of -5 x 6 x 7 voxels", *STACK),
    Bad("rgb.nii", nifti(RGB), "colour or complex voxels", *GREY),
    Bad("complex.nii", nifti(scans.voxels(np.complex64)), "colour or complex voxels", *GREY),
    Bad("two_d.mha", itk(scans.itk_image()[:, :, 0]), "a 2D image of 5 x 6 voxels", *STACK),
    Bad("two_d.nrrd", itk(scans.itk_image()[:, :, 0]), "a 2D image of 5 x 6 voxels", *STACK),
    Bad(
        "series.mha",
        itk(sitk.JoinSeries([scans.itk_image()] * 3)),
        "a 4D image of 5 x 6 x 7 x 3 voxels",
        *SPLIT,
    ),
    Bad("rgb.mha", itk(sitk.Compose([scans.itk_image()] * 3)), "3 numbers per voxel", *GREY),
    Bad("rgb.nrrd", itk(sitk.Compose([scans.itk_image()] * 3)), "3 numbers per voxel", *GREY),
    Bad("complex.mha", itk(COMPLEX), "2 numbers per voxel", *GREY),
    # nothing to see
    Bad("nan.nii", nifti(HALF_NAN), "105 of 210 voxels that are NaN or infinite", *NUMBERS, False),
    Bad(
        "inf.nii",
        nifti(np.full(scans.SHAPE, np.inf)),
        "210 of 210 voxels that are NaN or infinite",
        *NUMBERS,
        False,
    ),
    Bad(
        "constant.nii",
        nifti(np.full(scans.SHAPE, 7)),
        r"the same value \(7\) in every voxel",
        *IMAGE,
        False,
    ),
    Bad("slope.nii", nifti(scl_slope=np.inf), "intensities scaled by inf plus 0", *SCALE, False),
    # not on a regular grid in mm
    *(
        Bad(f"edge_{name}.nii", spaced(edge, **codes), f"voxel edges of {edge:g}, 1, 1 mm", *EDGES)
        for edge in (0.0, -1.0, np.nan, np.inf, 1e-6, 5000.0)
        for name, codes in (("none", NO_FORM), ("qform", Q_FORM))
    ),
    *(
        Bad(
            f"edge{suffix}",
            itk(**Fields({field: text.format(edge)})),
            f"voxel edges of {edge:g}, 2, 3 mm",
            *EDGES,
        )
        for edge in (0.0, -1.0, np.nan, np.inf)
        for suffix, field, text in (
            (".mha", "ElementSpacing", "{} 2 3"),
            (".mhd", "ElementSpacing", "{} 2 3"),
        )
    ),
    Bad(
        "zero.nrrd",
        itk(space_directions="(0,0,0) (0,2,0) (0,0,3)"),
        "voxel edges of 0, 2, 3 mm",
        *EDGES,
    ),
    Bad(
        "nan.nrrd",
        itk(space_directions="(nan,0,0) (0,2,0) (0,0,3)"),
        "voxel edges of nan, 2, 3 mm",
        *EDGES,
    ),
    Bad(
        "negative.nhdr",
        itk(**NO_SPACE, kinds="domain domain domain\nspacings: -1 2 3"),
        "voxel edges of -1, 2, 3 mm",
        *EDGES,
    ),
    Bad("none.mha", itk(ElementSpacing=""), "no voxel edges in the header", *ONE_EDGE),
    Bad("none.nrrd", itk(**NO_SPACE), "no voxel edges in the header", *ONE_EDGE),
    Bad(
        "one.nrrd",
        itk(space_directions="none (0,2,0) (0,0,3)"),
        "2 voxel edges in the header",
        *ONE_EDGE,
    ),
    Bad("metres.nii", nifti(xyzt_units=1), "lengths in metres", *IN_MM),
    Bad("micro.nii", nifti(xyzt_units=3), "lengths in micrometres", *IN_MM),
    Bad("micro.mha", itk(ElementSpacing="1 2 3\nDistanceUnits = um"), "lengths in um", *IN_MM),
    Bad("micro.nrrd", itk(sizes='5 6 7\nspace units: "um" "um" "um"'), "lengths in um", *IN_MM),
    Bad("singular.nii", nifti(affine=SINGULAR), "voxel edges of 1, 1, 0 mm", *EDGES),
    Bad("flat.nii", nifti(affine=FLAT), "axes that are 90 degrees from perpendicular", *SKEWED),
    Bad(
        "sheared.nii",
        nifti(affine=SHEARED),
        "axes that are 56.3 degrees from perpendicular",
        *SKEWED,
    ),
    Bad(
        "sheared.mha",
        itk(TransformMatrix="1 0 0 1.5 1 0 0 0 1"),
        "axes that are 56.3 degrees from perpendicular",
        *SKEWED,
    ),
    Bad(
        "sheared.nrrd",
        itk(space_directions="(1,0,0) (3,2,0) (0,0,3)"),
        "axes that are 56.3 degrees from perpendicular",
        *SKEWED,
    ),
    Bad("flat.mha", itk(TransformMatrix="1 0 0 0 1 0 0 0 0"), "voxel edges of 1, 2, 0 mm", *EDGES),
    Bad(
        "nowhere.nii",
        nifti(srow_x=[1, 0, 0, np.nan]),
        "a position or a direction that is not a number",
        *PLACE,
    ),
    Bad("turn.nii", nifti(quatern_b=3, **Q_FORM), broken("w2 should be positive.*"), *DAMAGED),
    Bad(
        "nanturn.nii",
        nifti(quatern_b=np.nan, **Q_FORM),
        "a position or a direction that is not a number",
        *PLACE,
    ),
]


def check(error: DataError, path: Path, bad: Bad) -> None:
    """The error says all that a user needs, in these words."""
    assert type(error) is DataError
    assert error.where == str(path)
    assert re.fullmatch(bad.found, error.found), error.found
    assert error.expected == bad.expected
    assert error.fix == bad.fix
    assert str(error) == f"{path}: found {error.found}; expected {error.expected}. {error.fix}"


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
def test_a_bad_scan_is_refused_in_words_that_help(tmp_path: Path, bad: Bad) -> None:
    path = tmp_path / bad.name
    bad.make(path)
    with pytest.raises(DataError) as caught:
        read_volume(path)
    check(caught.value, path, bad)


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
def test_a_header_without_fault_has_a_grid_and_any_other_is_refused(
    tmp_path: Path, bad: Bad
) -> None:
    path = tmp_path / bad.name
    bad.make(path)
    if bad.in_header:
        with pytest.raises(DataError) as caught:
            read_grid(path)
        check(caught.value, path, bad)
    else:
        assert min(read_grid(path).grid.shape) >= 1


@pytest.mark.parametrize("read", [read_volume, read_label, read_grid])
def test_a_missing_file_is_refused(tmp_path: Path, read: Callable[..., Any]) -> None:
    path = tmp_path / "no.nii"
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert "No such file" in caught.value.found
    assert caught.value.expected == READABLE
    assert caught.value.fix == "Check the path and the permissions."


def test_a_folder_is_no_label_map_and_without_dicom_no_scan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"):
        read_label(tmp_path)
    for read in (read_volume, read_grid):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert (caught.value.found, caught.value.expected) == (
            "no series (no DICOM)",
            "one DICOM series",
        )


LABEL_RANGE = (
    "0 (background) to 65535",
    "Check that this is the label, not the image; renumber the structures.",
)
WHOLE_NUMBERS = (
    "a label map",
    "Check that this is the label, not the image or a probability map.",
)


@pytest.mark.parametrize(
    ("value", "dtype", "found", "advice"),
    [
        (-1, "i2", "label values from -1 to 99", LABEL_RANGE),
        (-1, "f4", "label values from -1 to 99", LABEL_RANGE),
        (65536, "i4", "label values from 0 to 65536", LABEL_RANGE),
        (2**63, "u8", "label values from 0 to 9.22337e+18", LABEL_RANGE),
        (1e30, "f4", "label values from 0 to 1e+30", LABEL_RANGE),
        (0.5, "f4", "values that are not whole numbers", WHOLE_NUMBERS),
        (1 + 2e-3, "f8", "values that are not whole numbers", WHOLE_NUMBERS),
        (np.nan, "f4", "values that are not whole numbers", WHOLE_NUMBERS),
        (np.inf, "f4", "values that are not whole numbers", WHOLE_NUMBERS),
    ],
)
def test_values_that_are_no_labels_are_refused(
    tmp_path: Path, value: float, dtype: str, found: str, advice: tuple[str, str]
) -> None:
    image = scans.voxels(dtype)
    image[0, 0, 0], image[0, 0, 1], image[1, 1, 1] = 0, 99, value
    path = tmp_path / "label.nii"
    path.write_bytes(scans.nifti_bytes(image))
    with pytest.raises(DataError) as caught:
        read_label(path)
    assert caught.value.where == str(path)
    assert (caught.value.found, caught.value.expected, caught.value.fix) == (found, *advice)


def moved(*, x_mm: float = 0.0, stretch: float = 1.0, turn_deg: float = 0.0) -> np.ndarray:
    affine = geometry.affine(
        np.eye(3), spacing_mm=(0.7 * stretch, 0.7, 5.0), tilt_deg=(0.0, 0.0, turn_deg)
    )
    affine[0, 3] += x_mm
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "away"),
    [
        ((60, 60, 6), moved(), ""),
        ((60, 60, 5), moved(x_mm=0.2), ", up to 0.2 mm away"),
        ((60, 60, 5), moved(stretch=1.01), ", up to 0.413 mm away"),
        ((60, 60, 5), moved(stretch=1.3), ", up to 12.4 mm away"),
        ((60, 60, 5), moved(turn_deg=1), ", up to 1.02 mm away"),
    ],
)
def test_a_label_on_another_grid_than_its_scan_is_refused_by_both_names(
    tmp_path: Path, shape: tuple[int, int, int], affine: np.ndarray, away: str
) -> None:
    image, label = tmp_path / "image.nii", tmp_path / "label.nii"
    noise = np.random.default_rng(0).integers(0, 9, (60, 60, 5), dtype=np.uint8)
    image.write_bytes(scans.nifti_bytes(noise, moved()))
    label.write_bytes(scans.nifti_bytes(np.ones(shape, np.uint8), affine))
    with pytest.raises(DataError) as caught:
        read_label(label, like=read_volume(image))
    error = caught.value
    assert error.where == str(label)
    d, h, w = reversed(shape)
    assert error.found.startswith(f"a grid of {d} x {h} x {w} voxels of 5 x 0.7 x ")
    assert error.found.endswith(f"){away}")
    assert error.expected.startswith(f"the grid of {image}: 5 x 60 x 60 voxels of 5 x 0.7 x 0.7 mm")
    assert error.fix == "Resample the label onto its image with the tool that made it."
