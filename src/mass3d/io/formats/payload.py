"""The voxels of NRRD and MetaImage files: where they lie, how they are packed, and unpacking them.

Memory grows with what really comes out of a file, whatever its header promises.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.io.formats.checks import MAX_DEFLATE, damaged
from mass3d.volume.geometry import Shape

Packing = Literal["raw", "gzip", "bzip2", "ascii", "hex"]
# of voxels that a byte of the file can hold; more need not be looked for
MAX_BYTES: Final = {"raw": 1.0, "gzip": MAX_DEFLATE, "bzip2": np.inf, "ascii": 4.0, "hex": 0.5}
CHUNK = 2**20  # bytes of packed voxels that are unpacked together


@dataclass(frozen=True)
class Payload:
    """Where the voxels of a file lie and how they are stored."""

    files: tuple[Path, ...]  # in the order of the slowest axis, equal parts
    dtype: np.dtype[np.generic]
    packing: Packing
    start: int = 0  # byte of the file at which they begin; -1: as far from its end as they are long
    lines: int = 0  # to pass over after `start`
    skip: int = 0  # bytes to pass over when unpacked


def read_payload(path: Path, payload: Payload, shape: Shape) -> tuple[NDArray[np.generic], int]:
    """All voxels in the order of the file, and how many bytes follow them. Raises `DataError`."""
    count, parts = int(np.prod(shape, dtype=object)), len(payload.files)
    each = count // parts
    if each * parts != count:
        raise damaged(path, f"{parts} files for {count} voxels")
    promised = each * payload.dtype.itemsize
    stored, extra = [], 0
    for file in payload.files:
        try:
            with file.open("rb") as stream:
                _require_room(path, payload, file, promised)
                values, more = _read_part(path, payload, stream, each)
        except (OSError, ValueError, OverflowError, zlib.error) as error:
            raise damaged(path, str(error)) from error
        stored.append(values)
        extra += more
    return (stored[0] if parts == 1 else np.concatenate(stored)), extra


def _require_room(path: Path, payload: Payload, file: Path, promised: int) -> None:
    """Raise `DataError` where a file cannot hold so much; memory is taken only afterwards."""
    there = file.stat().st_size
    if payload.packing == "raw":
        there -= max(payload.start, 0) + payload.skip
    if promised > there * MAX_BYTES[payload.packing]:
        raise damaged(path, f"{there} bytes of voxels; the header promises {promised}")


def _read_part(
    path: Path, payload: Payload, stream: BinaryIO, count: int
) -> tuple[NDArray[np.generic], int]:
    """`count` voxels of one file and how many bytes follow them."""
    size = count * payload.dtype.itemsize
    stream.seek(payload.start if payload.start >= 0 else -size, 0 if payload.start >= 0 else 2)
    for _ in range(payload.lines):
        if not stream.readline():
            raise damaged(path, "it ends before its voxels")
    if payload.packing in {"gzip", "bzip2"}:
        stored, extra = _unpacked(path, stream, payload, size)
    elif payload.packing == "raw":
        stream.seek(payload.skip, 1)
        stored = np.fromfile(stream, np.uint8, size)
        extra = len(stream.read(1)) and Path(stream.name).stat().st_size - stream.tell() + 1
    elif payload.packing == "hex":
        content = np.frombuffer(bytes.fromhex(stream.read().decode("ascii")), np.uint8)
        stored, extra = content[payload.skip :][:size], max(0, len(content) - payload.skip - size)
    else:
        words = stream.read().split()
        values = np.array(words[:count], np.float64).astype(payload.dtype)
        stored, extra = values.view(np.uint8), sum(map(len, words[count:]))
    if len(stored) < size:
        raise damaged(path, f"{len(stored)} bytes of voxels; the header promises {size}")
    return stored.view(payload.dtype), extra


def _unpacked(
    path: Path, stream: BinaryIO, payload: Payload, size: int
) -> tuple[NDArray[np.uint8], int]:
    """Packed bytes from `skip` on, checked by their checksums, and how many more there are.

    Memory grows with what really comes, whatever the header promises.
    """
    parts = _gunzip(stream) if payload.packing == "gzip" else _bunzip(stream)
    content, extra = bytearray(), 0
    try:
        for part in parts:
            taken = part[: payload.skip + size - len(content)]
            content += taken
            extra += len(part) - len(taken)
    except EOFError as error:
        raise damaged(path, "its compressed voxels have no end") from error
    return np.frombuffer(content, np.uint8)[payload.skip :], extra


def _gunzip(stream: BinaryIO) -> Iterator[bytes]:
    """What zlib or gzip data unpack to, and what follows them as it is. Raises `EOFError`."""
    decoder, pending = zlib.decompressobj(wbits=47), b""
    while not decoder.eof:
        pending = pending or stream.read(CHUNK)
        if not pending:
            raise EOFError
        yield decoder.decompress(pending, CHUNK)
        pending = decoder.unconsumed_tail
    yield decoder.unused_data + stream.read()


def _bunzip(stream: BinaryIO) -> Iterator[bytes]:
    """What bzip2 data unpack to, and what follows them as it is. Raises `EOFError`."""
    decoder = bz2.BZ2Decompressor()
    while not decoder.eof:
        packed = stream.read(CHUNK) if decoder.needs_input else b""
        if decoder.needs_input and not packed:
            raise EOFError
        yield decoder.decompress(packed, CHUNK)
    yield decoder.unused_data + stream.read()
