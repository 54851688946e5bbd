"""A label map as a DICOM segmentation of the series it was found in; needs highdicom.

highdicom is loaded only when one is written, as it is an optional part of an installation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, count
from pathlib import Path
from typing import Any, Final
from unicodedata import category

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from mass3d.errors import ConfigError, DataError, install_extra
from mass3d.files import VERSION, write_bytes
from mass3d.io.dicom.header import Slice
from mass3d.io.dicom.series import Series, places_of
from mass3d.io.dicom.source_headers import source_headers, taken_over
from mass3d.io.dicom.stack import SAME_AXES
from mass3d.io.formats.label_table import LabelName
from mass3d.volume.geometry import SourceGrid

NEAR_VOX: Final = 0.1  # of a slice from where the grid has it
MAX_TEXT: Final = 64  # letters of a name in DICOM
UNHELD: Final = ("Cc", "Cs")  # control characters, and halves of letters that UTF-8 cannot write
UTF_8: Final = "ISO_IR 192"
SERIES_NUMBER: Final = 9001
NO_DATE, NO_TIME = "19000101", "000000"


def require_highdicom() -> None:
    """Raise `ConfigError` unless segmentations can be written here."""
    if find_spec("highdicom") is None:
        raise ConfigError(
            "DICOM segmentations",
            found="no highdicom in this installation",
            expected="highdicom, which writes them",
            fix=install_extra("dicomseg"),
            setting="dicom_seg",
        )


def require_series(scan: Path | Series) -> Series:
    """The scan, as a series. Raises `DataError` for any other."""
    if isinstance(scan, Series):
        return scan
    raise DataError(
        scan,
        found="a scan that is no DICOM series",
        expected="a series that a DICOM segmentation can refer to",
        fix="Leave these scans out, or ask for label maps only.",
        setting="dicom_seg",
    )


def write_segmentation(
    path: Path,
    labels: NDArray[np.uint16],
    source: SourceGrid,
    scan: Path | Series,
    names: Sequence[LabelName],
) -> None:
    """labels (D, H, W) on the grid of a series -> a binary DICOM segmentation at `path`.

    Segments are numbered from 1 in the order of `names`. Equal labels give equal bytes: identifiers
    are hashes, and dates those of the study. Raises `DataError` for what is no series of plain
    slices at the places of the grid, and for headers that DICOM does not allow.
    """
    slices = _slices(scan, source)
    frames = np.ascontiguousarray(source.from_canonical(labels).transpose(2, 1, 0))
    numbers = np.zeros(int(max(labels.max(), *(one.value for one in names))) + 1, np.uint8)
    numbers[[one.value for one in names]] = np.arange(1, len(names) + 1)
    write_bytes(path, _content(slices, numbers[frames], source, names))


def require_writable(scan: Path | Series, source: SourceGrid, names: Sequence[LabelName]) -> None:
    """Raise `DataError` where `write_segmentation` would, whatever the labels are.

    It takes seconds, where finding the labels takes minutes: one is made of a single voxel.
    """
    slices = _slices(scan, source)
    frames = np.zeros((len(slices), *slices[0].shape), np.uint8)
    frames[0, 0, 0] = 1
    _content(slices, frames, source, names)


def _content(
    slices: Sequence[Slice],
    frames: NDArray[np.uint8],
    source: SourceGrid,
    names: Sequence[LabelName],
) -> bytes:
    """The file. frames as in `_segmentation`. Raises `DataError`."""
    headers = source_headers(slices)
    content = BytesIO()
    with taken_over(slices[0].file.shown):  # of which patient and study are taken
        made = _segmentation(
            headers,
            frames,
            names,
            pixel_mm=slices[0].pixel_mm,
            between_mm=float(np.linalg.norm(np.array(source.affine)[:3, 2])),
        )
        made.save_as(content)
    return content.getvalue()


def _slices(scan: Path | Series, source: SourceGrid) -> list[Slice]:
    """One slice for each plane of the grid, in its order. Raises `DataError`."""
    series = require_series(scan)
    first: dict[int, Slice] = {}
    for part, place in zip(series.slices, places_of(series.slices), strict=True):
        first.setdefault(place, part)
    slices = list(first.values())
    affine = np.array(source.affine)
    edge_mm = np.linalg.norm(affine[:3, :3], axis=0)
    planes = affine[:3, 3] + np.arange(len(slices))[:, None] * affine[:3, 2]
    apart_mm = np.abs(planes * [-1, -1, 1] - [part.position for part in slices]).max()
    shape = (*slices[0].shape[::-1], len(slices))
    axes = np.array([part.axes for part in slices])
    turned = np.abs(axes - axes[0]).max() > SAME_AXES
    frames = any(part.frame for part in slices)
    if turned or frames or source.shape != shape or apart_mm > NEAR_VOX * edge_mm.min():
        raise DataError(
            series.path,
            found="slices that are turned against each other"
            if turned
            else ("frames of one file" if frames else "slices that had to be resampled to a grid"),
            expected="one file for each slice, parallel and at even distances",
            fix="Use the NIfTI label map; a DICOM segmentation refers to slices as they are.",
            setting="dicom_seg",
        )
    return slices


def _segmentation(
    headers: Sequence[Dataset],
    frames: NDArray[np.uint8],
    names: Sequence[LabelName],
    *,
    pixel_mm: tuple[float, float],
    between_mm: float,
) -> Dataset:
    """frames (slices, rows, columns): 0, or the number of the segment.

    pixel_mm: between rows and between columns; between_mm: between slices.
    """
    import highdicom as hd  # noqa: PLC0415  optional, and slow to load

    slices = [str(header.SOPInstanceUID) for header in headers]  # a series may hold many volumes
    shown = hashlib.sha256(repr((slices, frames.shape)).encode() + frames.tobytes()).hexdigest()
    told = [headers[0].SeriesInstanceUID, *map(str, names), shown]
    headers[0].SliceThickness = headers[0].get("SliceThickness") or between_mm
    made = hd.seg.Segmentation(
        list(headers),
        frames,
        hd.seg.SegmentationTypeValues.BINARY,
        [
            _description(hd, number, one, label)
            for number, (one, label) in enumerate(zip(names, segment_labels(names), strict=True), 1)
        ],
        series_instance_uid=generate_uid(entropy_srcs=["series", *told]),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=["instance", *told]),
        instance_number=1,
        manufacturer="mass3d",
        manufacturer_model_name="mass3d segment",
        software_versions=VERSION,
        specific_character_set=UTF_8,  # texts of the headers were decoded
        device_serial_number="0",
        pixel_measures=hd.PixelMeasuresSequence(pixel_mm, between_mm, between_mm),
    )
    made.SeriesDescription = "mass3d segmentation"
    date, time = headers[0].StudyDate or NO_DATE, headers[0].StudyTime or NO_TIME
    for what in ("Content", "InstanceCreation"):
        setattr(made, f"{what}Date", date)
        setattr(made, f"{what}Time", time)
    dimensions = generate_uid(entropy_srcs=["dimensions", *told])
    for element in made.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = dimensions
        elif element.keyword == "ContributionDateTime":
            element.value = f"{date.replace('.', '')}{time}"  # old dates have points
    return made


def segment_labels(names: Sequence[LabelName]) -> list[str]:
    """What segments are called, each otherwise: as their structures, as far as DICOM can say it.

    Backslashes, which part values there, become slashes; names have 64 letters at most, and end
    with ` (2)` and so on where two would be the same.
    """
    plain = [_plain(one) for one in names]
    kept = {text for text, one in zip(plain, names, strict=True) if text == one.name}
    taken, labels = set(kept), []
    for text, one in zip(plain, names, strict=True):
        label = text
        if text != one.name:
            numbered = (_ending(text, f" ({number})") for number in count(2))
            label = next(each for each in chain([text], numbered) if each not in taken)
        taken.add(label)
        labels.append(label)
    return labels


def _plain(one: LabelName) -> str:
    """A name without what DICOM cannot hold; spaces at its ends mean nothing there."""
    text = "".join(" " if category(letter) in UNHELD else letter for letter in one.name)
    return _ending(text.replace("\\", "/").strip(), "") or str(one.value)


def _ending(text: str, ending: str) -> str:
    return text[: MAX_TEXT - len(ending)].rstrip() + ending


def _description(hd: Any, number: int, one: LabelName, name: str) -> Any:
    """A segment of this name; its label value is the code of a scheme of our own."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415  only here, and slow

    own = hd.sr.CodedConcept(str(one.value), "99MASS3D", name)
    return hd.seg.SegmentDescription(
        number,
        name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=own,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="mass3d", family=codes.DCM.ArtificialIntelligence, version=VERSION
        ),
        display_color=hd.color.CIELabColor.from_rgb(*one.colour),
    )
