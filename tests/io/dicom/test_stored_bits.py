"""What bits of a pixel mean, against plain arithmetic, for every way they may be stored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

import dicoms
from mass3d.errors import DataError
from mass3d.io.read import read_volume

SHAPE = (24, 20)


def pixels(number: int, *, bits: int, signed: bool) -> NDArray[np.int64]:
    """True values of a slice."""
    low, high = (-(2 ** (bits - 2)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    return np.random.default_rng(number).integers(low, high, SHAPE)


def write(
    folder: Path, *, bits: int, high: int, signed: bool, jpeg: bool, garbage: int, rle: bool = False
) -> None:
    """Slices of `bits` up to bit `high`, with `garbage` in the other bits."""

    def change(ds: Dataset, number: int) -> None:
        shift = high + 1 - bits
        word = (pixels(number, bits=bits, signed=signed) & (2**bits - 1)) << shift
        word |= garbage & ~((2**bits - 1) << shift) & 0xFFFF
        stored = word.astype(np.uint16)
        ds.Rows, ds.Columns = SHAPE
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, high, int(signed)
        ds.RescaleIntercept = 0
        ds.PixelData = stored.tobytes()
        if jpeg:
            packed = io.BytesIO()
            Image.fromarray(stored).save(packed, "JPEG2000", irreversible=False, no_jp2=True)
            ds.PixelData = encapsulate([packed.getvalue()])
            ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True

    syntax = JPEG2000Lossless if jpeg else ExplicitVRLittleEndian
    dicoms.series(folder, [0, 2, 4], syntax=syntax, change=change, compressed=rle)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("garbage", [0, 0xFFFF, 0x9001])
@pytest.mark.parametrize("place", [(12, 11), (10, 9), (14, 13), (12, 15), (11, 12), (16, 15)])
@pytest.mark.parametrize("packed", ["raw", "rle", "jpeg"])
def test_only_the_bits_that_are_stored_count(
    tmp_path: Path, place: tuple[int, int], garbage: int, signed: bool, packed: str
) -> None:
    bits, high = place
    write(
        tmp_path,
        bits=bits,
        high=high,
        signed=signed,
        garbage=garbage,
        jpeg=packed == "jpeg",
        rle=packed == "rle",
    )
    found = read_volume(tmp_path).voxels[:, ::-1, ::-1]
    true = np.stack([pixels(number, bits=bits, signed=signed) for number in range(3)])
    np.testing.assert_array_equal(found, true)


def padded(
    folder: Path, value: int, *, signed: bool, limit: int | None = None, **more: Any
) -> None:
    def change(ds: Dataset, number: int) -> None:
        stored = np.random.default_rng(number).integers(100, 400, SHAPE)
        stored[:, :5] = value
        stored[:, 5:7] = value if limit is None else (value + limit) // 2
        ds.Rows, ds.Columns = SHAPE
        ds.PixelRepresentation = int(signed)
        ds.RescaleIntercept = -50
        ds.PixelData = (stored & 0xFFFF).astype(np.uint16).tobytes()
        for tag, found in (("PixelPaddingValue", value), ("PixelPaddingRangeLimit", limit)):
            if found is not None:
                setattr(ds, tag, found)
                ds[tag].VR = "SS" if found < 0 else "US"
        for name, found in more.items():
            setattr(ds, name, found)

    dicoms.series(folder, [0, 2, 4], change=change)


@pytest.mark.parametrize(
    ("value", "signed", "limit"),
    [
        (65535, False, None),
        (32767, True, None),
        (-32768, True, None),
        (63536, True, None),  # -2000, written without its sign
        (-2000, True, -1500),
        (4000, False, 5000),
        (5000, False, 4000),
        (0, False, None),
    ],
)
def test_padding_is_as_dark_as_the_darkest_that_was_measured(
    tmp_path: Path, value: int, signed: bool, limit: int | None
) -> None:
    padded(tmp_path, value, signed=signed, limit=limit)
    found = read_volume(tmp_path).voxels[:, ::-1, ::-1]
    true = np.stack([np.random.default_rng(n).integers(100, 400, SHAPE) for n in range(3)]) - 50
    np.testing.assert_array_equal(found[:, :, 7:], true[:, :, 7:])
    np.testing.assert_array_equal(found[:, :, :7], true[:, :, 7:].min())


def test_padding_may_need_more_bits_than_are_stored(tmp_path: Path) -> None:
    padded(tmp_path, 63536, signed=False, BitsStored=12, HighBit=11)
    assert read_volume(tmp_path).voxels.max() < 400


def test_a_scan_of_nothing_but_padding_is_refused_as_one_value(tmp_path: Path) -> None:
    def change(ds: Dataset, _: int) -> None:
        ds.PixelPaddingValue = 7
        ds["PixelPaddingValue"].VR = "SS"
        ds.PixelData = np.full(dicoms.SIZE, 7, np.int16).tobytes()

    dicoms.series(tmp_path, change=change)
    with pytest.raises(DataError, match="the same value"):
        read_volume(tmp_path)
