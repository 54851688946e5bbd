"""The headers of a series as a DICOM segmentation takes them over: whole, and as DICOM has them.

Tools that anonymise leave values that DICOM does not know. What a segmentation does not need is
emptied in these copies; the files stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, DT, TM

from mass3d.errors import DataError
from mass3d.io.dicom.files import opened
from mass3d.io.dicom.header import Slice, quiet_pydicom

EXPECTED: Final = (  # of every image, and not there in some; empty ones are allowed
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
SEXES: Final = ("", "M", "F", "O")
DATES: Final[dict[str, type[DA] | type[TM] | type[DT]]] = {"DA": DA, "TM": TM, "DT": DT}
NUMBERS: Final = ("DS", "IS")
ORIENTATION: Final = "ImageOrientationPatient"


def source_headers(slices: Sequence[Slice]) -> list[Dataset]:
    """The headers of slices of one volume, as pydicom has them, without pixels.

    Orientation and frame of reference of the first stand for those of the others, which differ by
    rounding, or by tools that give every file identifiers of its own. Of patient and study the
    first header alone is asked. Raises `DataError` for one that cannot be used.
    """
    headers: list[Dataset] = []
    for part, (_, stream) in zip(slices, opened(part.file for part in slices), strict=True):
        with taken_over(part.file.shown):
            header = pydicom.dcmread(stream, stop_before_pixels=True)
            if not headers:
                _clean(header)
            _fill(header, part)
            headers.append(header)
    first = headers[0]
    known = (part.frame_of_reference for part in slices if part.frame_of_reference)
    first.FrameOfReferenceUID = next(known, first.FrameOfReferenceUID)
    for other in headers[1:]:
        other.FrameOfReferenceUID = first.FrameOfReferenceUID
        other[ORIENTATION] = first[ORIENTATION]
    return headers


@contextmanager
def taken_over(where: Path) -> Iterator[None]:
    """pydicom or highdicom at work on a header: what it raises says what it cannot take over."""
    with quiet_pydicom():
        try:
            yield
        except (DataError, MemoryError):
            raise
        except Exception as error:  # a broken tag can make them raise anything
            told = " ".join((str(error) or type(error).__name__).split())[:200]
            raise DataError(
                where,
                found=f"a header that no DICOM segmentation can take over ({told})",
                expected="a header as DICOM has it",
                fix="Correct it, or ask for label maps only.",
                setting="dicom_seg",
            ) from error


def _fill(header: Dataset, part: Slice) -> None:
    """Fill identifiers that anonymising has emptied, in place.

    Those of class and instance stand a second time in front of every file. What is nowhere is a
    hash of what tells the series from others, and leads to nothing.
    """
    study, series = (generate_uid(entropy_srcs=[uid]) for uid in part.series)
    others = {
        "SOPClassUID": header.file_meta.get("MediaStorageSOPClassUID"),
        "SOPInstanceUID": header.file_meta.get("MediaStorageSOPInstanceUID"),
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": series,
    }
    for name, uid in others.items():
        setattr(header, name, header.get(name) or uid)
    if UID(header.SOPClassUID).name == header.SOPClassUID:  # which pydicom gives unknown ones
        raise ValueError(f"SOPClassUID is {header.SOPClassUID!r}, a kind that DICOM does not have")
    for name in EXPECTED:
        if name not in header:
            setattr(header, name, "")


def _clean(header: Dataset) -> None:
    """Take out what is not as DICOM has it, in place, and decode all texts, to be written anew."""
    for tag in [*header.keys()]:
        try:
            element = header[tag]
        except Exception:  # no value of its type
            del header[tag]
            continue
        if not _conforms(element.VR, element.value):
            element.value = None
    sex = str(header.get("PatientSex") or "").strip()
    header.PatientSex = sex if sex in SEXES else ""
    header.decode()


def _conforms(kind: str, value: Any) -> bool:
    """Whether a date, a time or a number is one, or nothing; whatever is of another kind does."""
    if kind in NUMBERS:
        parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return not any(isinstance(part, str) and part for part in parts)  # as pydicom gives others
    if kind not in DATES:
        return True
    try:
        DATES[kind](value or "")
    except Exception:  # a list, a word, a month that no year has
        return False
    return True
