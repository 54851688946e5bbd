"""The stored pixels of slices, decoded by pydicom or, where it cannot, by GDCM within SimpleITK."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mass3d.errors import DataError
from mass3d.io.dicom.files import opened
from mass3d.io.dicom.header import Slice, reading
from mass3d.io.dicom.stored_bits import padding_of, pixel_values
from mass3d.io.formats.checks import damaged

MULTI_FRAME: Final = "1.2.840.10008.5.1.4.1.1.7.3"  # grey words, without geometry or scale
# JPEG, JPEG-LS and JPEG 2000, which the GDCM within SimpleITK decodes. RLE, which pydicom always
# decodes where it is sound, is kept from it: of broken segments it dies by a division by zero.
GDCM: Final = frozenset(
    f"1.2.840.10008.1.2.{end}"
    for end in ("4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
)
PIXEL_TAGS: Final = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)


@dataclass(frozen=True)
class Pixels:
    """What a file holds of a slice."""

    part: Slice
    values: NDArray[Any]  # (rows, columns), as stored: neither scaled nor in HU
    padding: NDArray[np.bool_]  # (rows, columns): no measurement
    header: Dataset  # of the file


def read_pixels(slices: Sequence[Slice]) -> Iterator[Pixels]:
    """The pixels of every slice.

    Slices come in the order given, but all of one file together. Raises `DataError`.
    """
    of_file: dict[Any, list[Slice]] = {}
    for part in slices:
        of_file.setdefault(part.file, []).append(part)
    for file, stream in opened(of_file):
        parts = of_file[file]
        with reading(file.shown):
            header = pydicom.dcmread(stream, force=True)
            _complete(header)
            _require_decoder(file.shown, header.file_meta.TransferSyntaxUID)
            planes = _decode(header, [part.frame for part in parts])
        for part, plane in zip(parts, planes, strict=True):
            if plane.shape != part.shape:
                raise damaged(file.shown, f"pixels {plane.shape}, promised were {part.shape}")
            with reading(file.shown):
                values = pixel_values(file.shown, plane, header)
                padding = padding_of(plane, values, header)
            yield Pixels(part, values, padding, header)


def scaled(part: Slice, stored: NDArray[Any], header: Dataset) -> NDArray[np.float64]:
    """Stored pixels by slope and intercept, or by the table of the file.

    Raises `DataError` for CT in other units than HU.
    """
    table = header.get("ModalityLUTSequence")
    units = str((table[0].get("ModalityLUTType") if table else header.get("RescaleType")) or "HU")
    if part.modality == "CT" and units not in {"HU", "US", "HU_MOD"}:
        raise DataError(
            part.file.shown,
            found=f"a CT in units of {units}",
            expected="pixels with a slope and an intercept, to HU for CT",
            fix="Export the series of plain intensities.",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is dealt with later
        if not table:
            return np.asarray(stored * float(part.slope) + part.intercept, dtype=np.float64)
        with reading(part.file.shown):
            return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)


def _require_decoder(where: Path, syntax: UID) -> None:
    """Raise `DataError` where nothing that is installed can decode the pixels."""
    if not syntax.is_encapsulated or syntax in GDCM:
        return
    if syntax in AllTransferSyntaxes and get_decoder(syntax).is_available:
        return
    raise DataError(
        where,
        found=f"pixels compressed as {syntax.name} ({syntax})",
        expected="uncompressed pixels, or RLE, JPEG, JPEG-LS or JPEG 2000",
        fix="Decompress the files with another tool, such as gdcmconv --raw; for high-throughput "
        "JPEG 2000 it is enough to install pylibjpeg and pylibjpeg-openjpeg.",
    )


def _decode(header: Dataset, frames: list[int]) -> list[NDArray[Any]]:
    """Stored pixels (rows, columns) of some frames."""
    try:
        found = iter_pixels(header, indices=frames, raw=True, correct_unused_bits=False)
        return [np.array(plane) for plane in found]
    except Exception:  # whatever pydicom's decoders raise, GDCM may know the syntax
        if header.file_meta.TransferSyntaxUID not in GDCM:
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
