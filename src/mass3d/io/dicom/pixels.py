"""The stored pixels of slices, decoded by pydicom or, where it cannot, by GDCM within SimpleITK."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mass3d.errors import DataError
from mass3d.io.checks import damaged
from mass3d.io.dicom.files import opened
from mass3d.io.dicom.header import Slice, quiet_pydicom

MULTI_FRAME: Final = "1.2.840.10008.5.1.4.1.1.7.3"  # grey words, without geometry or scale
PIXEL_TAGS: Final = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)


def read_pixels(slices: Sequence[Slice]) -> Iterator[tuple[Slice, NDArray[Any], Dataset]]:
    """Every slice with its stored pixels (rows, columns) and the header of its file.

    Slices come in the order given, but all of one file together. Raises `DataError`.
    """
    of_file: dict[Any, list[Slice]] = {}
    for part in slices:
        of_file.setdefault(part.file, []).append(part)
    for file, stream in opened(of_file):
        parts = of_file[file]
        try:
            with quiet_pydicom():
                header = pydicom.dcmread(stream, force=True)
                planes = _decode(header, [part.frame for part in parts])
        except Exception as error:  # broken pixels can make a decoder raise anything
            raise damaged(file.shown, str(error) or type(error).__name__) from error
        for part, plane in zip(parts, planes, strict=True):
            if plane.shape != part.shape:
                raise damaged(file.shown, f"pixels {plane.shape}, promised were {part.shape}")
            yield part, plane, header


def require_plain_scale(part: Slice, header: Dataset) -> None:
    """Raise `DataError` when pixels are scaled by a table, or are CT in other units than HU."""
    units = str(header.get("RescaleType") or "HU")
    if "ModalityLUTSequence" in header:
        found = "pixels scaled by a table (ModalityLUTSequence)"
    elif part.modality == "CT" and units not in {"HU", "US", "HU_MOD"}:
        found = f"a CT in units of {units}"
    else:
        return
    raise DataError(
        part.file.shown,
        found=found,
        expected="pixels with a slope and an intercept, to HU for CT",
        fix="Export the series of plain intensities.",
    )


def _decode(header: Dataset, frames: list[int]) -> list[NDArray[Any]]:
    """Stored pixels (rows, columns) of some frames."""
    _complete(header)
    try:
        return [np.array(plane) for plane in iter_pixels(header, indices=frames)]
    except Exception:  # whatever pydicom's decoders raise, GDCM may know the syntax
        if not header.file_meta.TransferSyntaxUID.is_encapsulated:
            raise
        everything = _decode_with_gdcm(header)
        return [everything[frame] for frame in frames]


def _complete(header: Dataset) -> None:
    """Name the encoding of a file that does not; it was found out when the header was read."""
    header.file_meta = getattr(header, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in header.file_meta:
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _decode_with_gdcm(header: Dataset) -> NDArray[Any]:
    """All frames (frames, rows, columns). GDCM sees pixels only, so it neither scales nor sorts."""
    bare = Dataset()
    for tag in PIXEL_TAGS:
        if tag in header:
            bare[tag] = header[tag]
    bare.SOPClassUID, bare.SOPInstanceUID = MULTI_FRAME, "1.2.3"
    bare.NumberOfFrames = int(header.get("NumberOfFrames") or 1)
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pixels.dcm"
            bare.save_as(path, enforce_file_format=True)
            image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    return np.asarray(sitk.GetArrayFromImage(image)).reshape(
        bare.NumberOfFrames, header.Rows, header.Columns
    )
