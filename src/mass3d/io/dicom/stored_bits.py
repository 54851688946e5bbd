"""Which bits of a decoded pixel are its value, and which values are padding.

Decoders differ in what they leave in the bits above `BitsStored` and in whether they extend the
sign; so both are done here, for every transfer syntax. Padding (`PixelPaddingValue` and its range)
marks places outside the field of view, which hold no measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import get_j2k_parameters
from pydicom.uid import JPEG2000TransferSyntaxes, RLELossless

from mass3d.errors import DataError


def pixel_values(where: Path, decoded: NDArray[Any], header: Dataset) -> NDArray[Any]:
    """Decoded pixels -> their values: bits above `BitsStored` dropped, the sign extended.

    Raises `DataError` where the place of the bits within a compressed pixel is not known.
    """
    if decoded.dtype.kind not in "iu":
        return decoded
    stored, signed = int(header.BitsStored), int(header.PixelRepresentation) == 1
    shift = _shift(where, header)
    if (
        shift == 0
        and stored == 8 * decoded.dtype.itemsize
        and (decoded.dtype.kind == "i") == signed
    ):
        return decoded
    values: NDArray[Any] = _signed(decoded.astype(np.int64) >> shift, stored, signed=signed)
    return values


def padding_of(decoded: NDArray[Any], values: NDArray[Any], header: Dataset) -> NDArray[np.bool_]:
    """Which pixels the header calls padding.

    The padding may be a number that needs more bits than are stored, so the decoded pixels are
    looked at too.
    """
    if "PixelPaddingValue" not in header or decoded.dtype.kind not in "iu":
        return np.zeros(decoded.shape, bool)
    allocated, signed = int(header.BitsAllocated), int(header.PixelRepresentation) == 1
    first = _padding(header, "PixelPaddingValue", allocated, signed=signed)
    last = first
    if header.get("PixelPaddingRangeLimit") is not None:
        last = _padding(header, "PixelPaddingRangeLimit", allocated, signed=signed)
    low, high = min(first, last), max(first, last)
    whole = _signed(decoded.astype(np.int64), allocated, signed=signed)
    found: NDArray[np.bool_] = (whole >= low) & (whole <= high)
    stored = int(header.BitsStored)
    if all(_signed(np.int64(end), stored, signed=signed) == end for end in (low, high)):
        found |= (values >= low) & (values <= high)
    return found


def _shift(where: Path, header: Dataset) -> int:
    """How many bits lie below the value: 0 unless `HighBit` is odd. Raises `DataError`."""
    shift = int(header.get("HighBit", header.BitsStored - 1)) + 1 - int(header.BitsStored)
    syntax = header.file_meta.TransferSyntaxUID
    if shift == 0 or not syntax.is_encapsulated or syntax == RLELossless:
        return max(shift, 0)
    if syntax in JPEG2000TransferSyntaxes:
        frame = get_frame(
            header.PixelData, 0, number_of_frames=int(header.get("NumberOfFrames") or 1)
        )
        return shift if get_j2k_parameters(frame).get("precision", 0) > header.BitsStored else 0
    raise DataError(
        where,
        found=f"compressed pixels of {header.BitsStored} bits up to bit {header.HighBit}",
        expected="values in the lowest bits",
        fix="Decompress the files with another tool, such as gdcmconv --raw.",
    )


def _signed(bits: Any, stored: int, *, signed: bool) -> Any:
    """The lowest `stored` bits as a number."""
    values = bits & ((1 << stored) - 1)
    return values - ((values >> (stored - 1)) << stored) if signed else values


def _padding(header: Dataset, tag: str, allocated: int, *, signed: bool) -> int:
    """A padding value; files may give it with the wrong sign."""
    return int(_signed(int(header[tag].value), allocated, signed=signed))
