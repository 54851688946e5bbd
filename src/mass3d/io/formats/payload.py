"""The voxels of NRRD and MetaImage files: where they lie, how they are packed, and unpacking them.

Everything is unpacked in pieces, so that memory grows with what is taken, and not with what a file
promises, holds beyond its voxels, or is asked to pass over.
"""

from __future__ import annotations

import bz2
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.io.formats.checks import MAX_DEFLATE, MAX_USUAL, damaged
from mass3d.io.formats.regular_file import open_unbuffered
from mass3d.volume.geometry import Shape

Packing = Literal["raw", "gzip", "bzip2", "ascii", "hex"]
# of voxels that a byte of the file can hold; more need not be looked for
MAX_BYTES: Final = {"raw": 1.0, "gzip": MAX_DEFLATE, "bzip2": 2.0**21, "ascii": 4.0, "hex": 0.5}
# bzip2 packs emptiness so well that only larger promises are suspicious
MAX_BZIP2, MAX_BZIP2_BYTES = 2.0**17, 2**28
CHUNK = 2**20  # bytes that are unpacked together
MAX_EXTRA = 2**30  # unpacked bytes beyond the voxels that are looked at
MAX_WORD = 400  # letters of a number in a text


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
    each = require_room(path, payload, shape)
    stored, extra = [], 0
    for file in payload.files:
        try:
            with BufferedReader(open_unbuffered(file)) as stream:
                values, more = _read_part(path, payload, stream, each)
        except (OSError, ValueError, OverflowError, zlib.error) as error:
            raise damaged(path, str(error)) from error
        stored.append(values)
        extra += more
    return (stored[0] if len(stored) == 1 else np.concatenate(stored)), extra


def require_room(path: Path, payload: Payload, shape: Shape) -> int:
    """The voxels of each file. Raises `DataError` where the files cannot hold as many."""
    count, parts = int(np.prod(shape, dtype=object)), len(payload.files)
    each = count // parts
    if each * parts != count:
        raise damaged(path, f"{parts} files for {count} voxels")
    promised = each * payload.dtype.itemsize
    for file in payload.files:
        try:
            there = file.stat().st_size
        except OSError as error:
            raise damaged(path, str(error.strerror)) from error
        if payload.packing == "raw":
            there -= max(payload.start, 0) + payload.skip
        most = MAX_BYTES[payload.packing]
        if payload.packing == "bzip2" and promised > MAX_BZIP2_BYTES:
            most = MAX_BZIP2
        if promised > there * most:
            raise damaged(path, f"{there} bytes of voxels; the header promises {promised}")
    return each


def require_credible(path: Path, payload: Payload, shape: Shape) -> None:
    """Raise `DataError` where packed files promise uncommonly much and it is not there."""
    if payload.packing not in UNPACKING:
        return
    wanted = payload.skip + math.prod(shape) // len(payload.files) * payload.dtype.itemsize
    for file in payload.files:
        if wanted <= MAX_USUAL * file.stat().st_size:
            continue
        try:
            with BufferedReader(open_unbuffered(file)) as stream:
                stream.seek(max(payload.start, 0))
                _pass_lines(path, stream, payload.lines)
                _require_length(path, UNPACKING[payload.packing](stream), wanted)
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise damaged(path, str(error)) from error


def _require_length(path: Path, parts: Iterable[bytes], wanted: int) -> None:
    found = 0
    for part in parts:
        found += len(part)
        if found >= wanted:
            return
    raise damaged(path, f"{found} bytes of voxels; the header promises {wanted}")


def _read_part(
    path: Path, payload: Payload, stream: BufferedReader[Any], count: int
) -> tuple[NDArray[np.generic], int]:
    """`count` voxels of one file and how many bytes follow them."""
    size = count * payload.dtype.itemsize
    stream.seek(payload.start if payload.start >= 0 else -size, 0 if payload.start >= 0 else 2)
    _pass_lines(path, stream, payload.lines)
    if payload.packing == "raw":
        stream.seek(payload.skip, 1)
        stored = np.fromfile(stream, np.uint8, size)
        extra = _left(stream)
    elif payload.packing == "ascii":
        stored, extra = _read_numbers(stream, payload.dtype, count)
    else:
        parts = UNPACKING[payload.packing](stream)
        stored, extra = _taken(path, parts, payload.skip, size)
        extra += _left(stream)
    if len(stored) < size:
        raise damaged(path, f"{len(stored)} bytes of voxels; the header promises {size}")
    return stored.view(payload.dtype), extra


def _pass_lines(path: Path, stream: BufferedReader[Any], lines: int) -> None:
    """Go behind the next lines, however long they are."""
    while lines > 0:
        piece = stream.readline(CHUNK)
        if not piece:
            raise damaged(path, "it ends before its voxels")
        lines -= piece.endswith(b"\n")


def _left(stream: BufferedReader[Any]) -> int:
    """How many bytes of a file have not been read."""
    return max(0, os.fstat(stream.fileno()).st_size - stream.tell())


def _taken(
    path: Path, parts: Iterable[bytes], skip: int, size: int
) -> tuple[NDArray[np.uint8], int]:
    """`size` unpacked bytes behind the first `skip`, and how many more there are."""
    content, extra = bytearray(), 0
    try:
        for part in parts:
            passed = min(skip, len(part))
            skip -= passed
            taken = part[passed : passed + size - len(content)]
            content += taken
            extra += len(part) - passed - len(taken)
            if extra > MAX_EXTRA:
                raise damaged(path, f"more than {MAX_EXTRA} bytes after the voxels")
    except EOFError as error:
        raise damaged(path, "its compressed voxels have no end") from error
    return np.frombuffer(content, np.uint8), extra


def _gunzip(stream: BufferedReader[Any]) -> Iterator[bytes]:
    """What zlib or gzip data unpack to, checked by their checksums. Raises `EOFError`."""
    decoder, pending = zlib.decompressobj(wbits=47), b""
    while not decoder.eof:
        pending = pending or stream.read(CHUNK)
        if not pending:
            raise EOFError
        yield decoder.decompress(pending, CHUNK)
        pending = decoder.unconsumed_tail
    yield decoder.unused_data


def _bunzip(stream: BufferedReader[Any]) -> Iterator[bytes]:
    """What bzip2 data unpack to, checked by their checksums. Raises `EOFError`."""
    decoder = bz2.BZ2Decompressor()
    while not decoder.eof:
        packed = stream.read(CHUNK) if decoder.needs_input else b""
        if decoder.needs_input and not packed:
            raise EOFError
        yield decoder.decompress(packed, CHUNK)
    yield decoder.unused_data


def _unhex(stream: BufferedReader[Any]) -> Iterator[bytes]:
    """What pairs of hexadecimal digits stand for; white space may lie between them."""
    odd = b""
    while piece := stream.read(CHUNK):
        digits = odd + b"".join(piece.split())
        even = len(digits) // 2 * 2
        yield bytes.fromhex(digits[:even].decode("ascii"))
        odd = digits[even:]
    if odd:
        raise ValueError("an odd number of hexadecimal digits")


UNPACKING: Final[dict[str, Callable[[BufferedReader[Any]], Iterator[bytes]]]] = {
    "gzip": _gunzip,
    "bzip2": _bunzip,
    "hex": _unhex,
}


def _read_numbers(
    stream: BufferedReader[Any], dtype: np.dtype[np.generic], count: int
) -> tuple[NDArray[np.uint8], int]:
    """Numbers written as words, and how many letters follow them."""
    values, filled, extra = np.empty(count, dtype), 0, 0
    for words in _words(stream):
        taken = words[: count - filled]
        if taken:
            values[filled : filled + len(taken)] = np.array(taken, np.float64).astype(dtype)
        filled += len(taken)
        extra += sum(map(len, words[len(taken) :]))
    return values[:filled].view(np.uint8), extra


def _words(stream: BufferedReader[Any]) -> Iterator[list[bytes]]:
    """The words of a text, some thousand at a time."""
    rest = b""
    while piece := stream.read(CHUNK // 16):
        words = re.split(rb"\s+", rest + piece)
        rest = words.pop()
        if len(rest) > MAX_WORD:
            raise ValueError("no number")
        yield [word for word in words if word]
    if rest:
        yield [rest]
