"""The arrays and the mask table of a stored case: written to be read by crops, opened with care."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import blosc2
import numpy as np
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.masks.table import MaskTable
from mass3d.store.records import broken
from mass3d.store.schema import CaseRecord

COLUMNS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {  # kind of number, numbers per row
    "layer": ("i", ()),
    "first": ("u", ()),
    "last": ("u", ()),
    "parent": ("i", ()),
    "voxels": ("i", ()),
    "box": ("i", (6,)),
    "score": ("f", ()),
    "engine": ("U", ()),
}
CHUNK, BLOCK = 64, 32  # voxels per axis: a crop unpacks few blocks, and blocks pack well
# Chosen by measurement (benchmarks/RESULTS.md): a store is written once and read for days.
CODEC, LEVEL = blosc2.Codec.LZ4HC, 5
EPOCH = (1980, 1, 1, 0, 0, 0)  # of files inside the .npz, so that equal tables are equal bytes


def open_array(path: Path, *, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> Any:
    """Open a blosc2 array for reading by one thread. Raises `StoreError` unless it fits."""
    try:
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        found = (tuple(array.shape), str(array.dtype))
    except Exception as error:  # blosc2 parses broken headers with whatever error comes up
        raise broken(path) from error
    if found[0] != shape or found[1] not in dtypes:
        raise StoreError(
            path,
            found=f"{found[1]} array of shape {found[0]}",
            expected=f"{' or '.join(dtypes)} of shape {shape}",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )
    return array


def read_table(path: Path, record: CaseRecord, shape: tuple[int, int, int]) -> MaskTable:
    """Read the mask table of a case. Raises `StoreError` unless every row can be used safely."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in COLUMNS}
    except Exception as error:  # zlib's, zipfile's, a tokeniser's: numpy passes on what comes up
        raise broken(path) from error
    if not _is_sound(columns, record, shape):
        raise broken(path)
    return MaskTable(**columns)


def widened(half: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same finite numbers as float32, in a quarter of the time of `astype`.

    Moves sign, exponent and fraction to their places in the wider format; the product corrects
    the exponent, whose zero is 15 there and 127 here. What is not finite, which no store holds,
    becomes a number beyond the largest of float16.
    """
    bits = half.view(np.int16).astype(np.int32)  # repeats the sign in the new upper bits
    bits <<= 13
    bits &= np.int32(-0x70002000)  # sign, 3 bits of nothing, 5 of exponent, 10 of fraction
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0 ** (127 - 15))
    return numbers


def _is_sound(
    columns: dict[str, NDArray[Any]], record: CaseRecord, shape: tuple[int, int, int]
) -> bool:
    for name, (kind, per_row) in COLUMNS.items():
        column = columns[name]
        if column.dtype.kind != kind or column.shape != (record.num_masks, *per_row):
            return False
    low, high = columns["box"][:, 0::2], columns["box"][:, 1::2]
    rules = (
        (columns["layer"] >= 0) & (columns["layer"] < record.num_layers),
        (columns["first"] >= 1) & (columns["first"] <= columns["last"]),
        (columns["parent"] >= -1) & (columns["parent"] < np.arange(record.num_masks)),
        columns["voxels"] >= 1,
        ((low >= 0) & (low < high) & (high <= np.array(shape))).all(1),
    )
    return all(bool(rule.all()) for rule in rules)


def write_array(path: Path, array: NDArray[Any], *, pack: Any) -> None:
    """Pack an array and write it.

    One thread only: with more, blocks lie in the file in the order they happened to end. Not
    written by blosc2 itself, which says nothing useful, or nothing at all, when the disk is full.
    """
    extra = (1,) * (array.ndim - 3)
    chunks = extra + tuple(max(1, min(CHUNK, n)) for n in array.shape[-3:])
    packed = blosc2.asarray(
        np.ascontiguousarray(array),
        contiguous=True,
        chunks=chunks,
        blocks=tuple(min(BLOCK, n) for n in chunks),
        cparams=blosc2.CParams(codec=CODEC, clevel=LEVEL, filters=[pack], nthreads=1),
    )
    path.write_bytes(packed.to_cframe())


def table_bytes(table: MaskTable) -> bytes:
    """The columns of a table as a .npz; equal tables are equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, column in table.columns().items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(column), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=EPOCH)
            archive.writestr(entry, content.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
