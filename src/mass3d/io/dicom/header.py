"""What the header of a DICOM file says about its slices, or why it shows none.

Only the tags listed here are read. Of the patient that is the identifier alone, of which only a
hash is kept: it tells patients apart, and names nobody.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from mass3d.errors import DataError
from mass3d.io.dicom.files import DicomFile
from mass3d.io.formats.checks import damaged
from mass3d.volume.volume import Modality

MODALITIES: Final[dict[str, Modality]] = {"CT": "ct", "MR": "mr", "PT": "pet"}
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"  # and, after a dot, its multi-frame kinds
DICOMDIR: Final = "1.2.840.10008.1.3.10"
NO_IMAGE: Final = {
    "SEG": "a DICOM segmentation",
    "RTSTRUCT": "a radiotherapy structure set",
    "RTDOSE": "a radiotherapy dose",
    "RTPLAN": "a radiotherapy plan",
    "SR": "a structured report",
    "KO": "a key object note",
    "PR": "a presentation state",
    "REG": "a registration",
}
MAX_PIXELS = 2**26  # of one slice; more is a broken header
# where Siemens, GE and Philips keep the b-value that DiffusionBValue should hold
PRIVATE_B: Final = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))
GE_OFFSET = 10**9  # GE adds it to b-values
SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
PLACE: Final = ("ImagePositionPatient", "PlanePositionSequence")
# The dimensions a series can have besides space, in the order they are tried: the word in a
# volume's name, the tag, and the functional group that holds it in an enhanced file.
DIMENSIONS: Final = (
    ("type", "ImageType", ""),
    ("type", "FrameType", "MRImageFrameTypeSequence"),
    ("echo", "EchoTime", ""),
    ("echo", "EffectiveEchoTime", "MREchoSequence"),
    ("b", "DiffusionBValue", "MRDiffusionSequence"),
    ("dir", "DiffusionGradientOrientation", "MRDiffusionSequence"),
    ("t", "TemporalPositionIdentifier", ""),
    ("t", "TemporalPositionIndex", "FrameContentSequence"),
    ("t", "TriggerTime", ""),
    ("t", "NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
    ("t", "AcquisitionNumber", ""),
    ("t", "AcquisitionTime", ""),
    ("t", "FrameAcquisitionDateTime", "FrameContentSequence"),
    ("t", "ContentTime", ""),
)
_TAGS: Final[tuple[str | tuple[int, int], ...]] = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("InstanceNumber", "Modality", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
    *("PhotometricInterpretation", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "RescaleSlope", "RescaleIntercept", SHARED, PER_FRAME, *PRIVATE_B),
    *("StudyInstanceUID", "FrameOfReferenceUID", "ImagesInAcquisition", "NumberOfSlices"),
    *("ModalityLUTSequence", "PatientID", "AcquisitionDate", "AcquisitionDateTime"),
    *(tag for _, tag, group in DIMENSIONS if group in {"", "MRDiffusionSequence"}),
)


@dataclass(frozen=True)
class Slice:
    """One plane of pixels and its place. World coordinates are DICOM's LPS+ mm."""

    file: DicomFile
    frame: int  # in its file, from 0
    uid: str  # SOPInstanceUID
    sop_class: str  # SOPClassUID
    frame_of_reference: str  # FrameOfReferenceUID; empty without
    series: tuple[str, str]  # UIDs of study and series, or what stands for them
    label: str  # number and description of the series
    patient: str  # a hash of PatientID; empty without
    acquired: tuple[str, str]  # date and time of the acquisition; empty without
    instance: int  # InstanceNumber; 0 without
    images: int  # how many there should be in the series, as far as the header says; else 0
    modality: str  # the tag
    shape: tuple[int, int]  # rows, columns
    pixel_mm: tuple[float, float]  # between rows, between columns
    axes: tuple[float, ...]  # unit vectors along a row and along a column
    position: tuple[float, ...]  # of the first pixel
    slope: float
    intercept: float
    dimensions: tuple[Any, ...]  # a value or None for each of DIMENSIONS

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction in which slices are stacked."""
        return np.asarray(np.cross(self.axes[:3], self.axes[3:]), dtype=np.float64)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's notes off the console: what matters becomes an error or a note."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def reading(where: Path) -> Iterator[None]:
    """pydicom at work on a file: its notes stay off the console, what it raises is damage."""
    with quiet_pydicom():
        try:
            yield
        except (DataError, MemoryError):
            raise
        except Exception as error:  # a broken tag can make pydicom raise anything
            raise damaged(where, str(error) or type(error).__name__) from error


def read_slices(file: DicomFile, stream: BinaryIO) -> tuple[Slice, ...] | str:
    """The slices of a file, or the reason why it has none: a localizer, a report, ...

    Raises `DataError` for an image of a patient that is damaged or lacks its geometry.
    """
    with reading(file.shown):
        header = pydicom.dcmread(
            stream, stop_before_pixels=True, force=True, specific_tags=[Tag(tag) for tag in _TAGS]
        )
        reason = _left_out(header)
        return reason or tuple(_slices(file, header))


def _left_out(header: Dataset) -> str:
    """Why a sound file is no part of a scan; empty where it may be one."""
    modality, sop_class = str(header.get("Modality", "")), str(header.get("SOPClassUID", ""))
    known = modality in MODALITIES
    captured = sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")
    palette = str(header.get("PhotometricInterpretation", "")).startswith("PALETTE")
    coloured = palette or int(header.get("SamplesPerPixel") or 1) > 1
    nowhere = _value(header, 0, *PLACE) is None
    reasons = {
        NO_IMAGE.get(modality, ""): modality in NO_IMAGE,
        "a directory of DICOM files": sop_class == DICOMDIR,
        f"DICOM without an image ({modality or 'no modality'})": not known and "Rows" not in header,
        "a secondary capture": captured,
        "a colour image": coloured,
        "a localizer": "LOCALIZER" in _words(header.get("ImageType")),
        f"an image without a place in the patient ({modality})": not known and nowhere,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _slices(file: DicomFile, header: Dataset) -> Iterator[Slice]:
    frames = int(header.get("NumberOfFrames") or 1)
    if "MOSAIC" in _words(header.get("ImageType")):
        raise DataError(
            file.shown,
            found="a mosaic of slices (Siemens)",
            expected="one slice per image",
            fix="Convert the series to NIfTI with dcm2niix, which takes mosaics apart.",
        )
    if PER_FRAME in header and len(header[PER_FRAME].value) != frames:
        raise damaged(file.shown, f"{frames} frames, described are {len(header[PER_FRAME].value)}")
    if frames > 1 and PER_FRAME not in header:
        raise _lacks(file, PER_FRAME)
    number = str(header.get("SeriesNumber") or "")
    label = f"{number} {header.get('SeriesDescription') or ''}".strip()
    series = str(header.get("SeriesInstanceUID") or "") or f"{file.path.parent} {label}"
    rows, columns = _whole(file, header, "Rows"), _whole(file, header, "Columns")
    if rows * columns > MAX_PIXELS:
        raise damaged(file.shown, f"a slice of {rows} x {columns} pixels")
    for frame in range(frames):
        yield Slice(
            file=file,
            frame=frame,
            uid=str(header.get("SOPInstanceUID") or ""),
            sop_class=str(header.get("SOPClassUID") or ""),
            frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
            series=(str(header.get("StudyInstanceUID") or ""), series),
            label=label,
            patient=_hash(str(header.get("PatientID") or "")),
            acquired=_acquired(header),
            instance=int(header.get("InstanceNumber") or 0),
            images=int(header.get("ImagesInAcquisition") or header.get("NumberOfSlices") or 0),
            modality=str(header.get("Modality", "")),
            shape=(rows, columns),
            pixel_mm=_pair(_numbers(file, header, frame, "PixelSpacing", "PixelMeasuresSequence")),
            axes=_axes(file, header, frame),
            position=_numbers(file, header, frame, *PLACE),
            slope=_rescale(file, header, frame, "RescaleSlope"),
            intercept=_rescale(file, header, frame, "RescaleIntercept"),
            dimensions=tuple(_dimension(header, frame, t, g) for _, t, g in DIMENSIONS),
        )


def _hash(identifier: str) -> str:
    """What tells patients apart without naming them."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:16] if identifier.strip() else ""


def _acquired(header: Dataset) -> tuple[str, str]:
    """Date and time of the acquisition, each empty where the header does not give it."""
    moment = str(header.get("AcquisitionDateTime") or "")
    date, time = str(header.get("AcquisitionDate") or ""), str(header.get("AcquisitionTime") or "")
    return (date or moment[:8], time) if time else (moment[:8], moment[8:])


def _value(header: Dataset, frame: int, tag: str, group: str) -> Any:
    """A tag of a frame: its own, else the shared one, else that of the file; None without."""
    for groups, number in ((PER_FRAME, frame), (SHARED, 0)):
        if group and groups in header:
            found = header[groups].value[number].get(group)
            if found and found[0].get(tag) is not None:
                return found[0][tag].value
            nested = _nested(found, tag)
            if nested is not None:
                return nested
    return header.get(tag)


def _dimension(header: Dataset, frame: int, tag: str, group: str) -> Any:
    value = _value(header, frame, tag, group)
    if value is None and tag == "DiffusionBValue":
        value = _private_b(header)
    return _plain(value)


def _private_b(header: Dataset) -> float | None:
    """The b-value in a private tag; None without."""
    for tag in PRIVATE_B:
        value = header[tag].value if tag in header else None
        if isinstance(value, bytes):  # implicit files do not name the type of private tags
            value = value.decode("ascii", "replace").split("\\")
        first: Any = value
        if isinstance(value, Sequence) and not isinstance(value, str):
            first = value[0] if value else None
        try:
            return float(first) % GE_OFFSET
        except (TypeError, ValueError):
            continue
    return None


def _nested(found: Any, tag: str) -> Any:
    """A tag one sequence deeper: the direction of a diffusion gradient lies there."""
    inner = found[0].get("DiffusionGradientDirectionSequence") if found else None
    return inner[0].get(tag) if inner else None


def _axes(file: DicomFile, header: Dataset, frame: int) -> tuple[float, ...]:
    tag = "ImageOrientationPatient"
    axes = _numbers(file, header, frame, tag, "PlaneOrientationSequence")
    lengths = [float(np.linalg.norm(axes[:3])), float(np.linalg.norm(axes[3:]))]
    if len(axes) != 6 or not np.allclose(lengths, 1, atol=0.01):
        raise damaged(file.shown, f"{tag} is {axes}")
    return tuple(x / length for x, length in zip(axes, np.repeat(lengths, 3), strict=True))


def _numbers(
    file: DicomFile, header: Dataset, frame: int, tag: str, group: str
) -> tuple[float, ...]:
    """A tag of several numbers that a slice must have. Raises `DataError` where it lacks."""
    value = _value(header, frame, tag, group)
    if value is None or isinstance(value, str) or not len(value):
        raise _lacks(file, tag)
    numbers = tuple(float(x) for x in value)
    if not np.isfinite(numbers).all() or (tag == "ImagePositionPatient" and len(numbers) != 3):
        raise damaged(file.shown, f"{tag} is {numbers}")
    return numbers


def _pair(numbers: tuple[float, ...]) -> tuple[float, float]:
    rows, columns = numbers
    return rows, columns


def _whole(file: DicomFile, header: Dataset, tag: str) -> int:
    if not header.get(tag):
        raise _lacks(file, tag)
    return int(header[tag].value)


def _rescale(file: DicomFile, header: Dataset, frame: int, tag: str) -> float:
    """Slope or intercept; without one, CT and PET are not understood: HU and SUV need it."""
    value = _value(header, frame, tag, "PixelValueTransformationSequence")
    if value is None or value == "":
        if header.get("Modality") in {"CT", "PT"} and "ModalityLUTSequence" not in header:
            raise _lacks(file, tag)
        return 1.0 if tag == "RescaleSlope" else 0.0
    if not np.isfinite(float(value)):
        raise damaged(file.shown, f"{tag} is {value}")
    return float(value)


def _plain(value: Any) -> Any:
    """A value that compares and sorts: a number, a text, or a tuple of them."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        return value
    return tuple(_plain(x) for x in value) if isinstance(value, Sequence) else str(value)


def _words(value: Any) -> set[str]:
    """The values of a tag that holds one or several."""
    return {value} if isinstance(value, str) else set(value or ())


def _lacks(file: DicomFile, tag: str) -> DataError:
    return DataError(
        file.shown,
        found=f"a slice without {tag}",
        expected="a DICOM image with its place, spacing and scale",
        fix="Export the series again from the scanner or the archive, not from a viewer.",
    )
