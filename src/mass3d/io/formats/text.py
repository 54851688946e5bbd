"""Formats whose header is text, attached to its voxels or beside them: what they share.

They are read here and not by ITK, whose parsers corrupt memory on some broken headers, take 1 mm
where a header gives no spacing, and deliver noise where packed voxels are damaged, without a word.
"""

from __future__ import annotations

import bz2
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.axes import Fit
from mass3d.io.formats.checks import MOST_PACKED, Raw, damaged, placed, require_edges, spatial_shape
from mass3d.volume.geometry import Shape

Packing = Literal["raw", "gzip", "bzip2", "ascii", "hex"]
# of voxels that a byte of the file can hold; more need not be looked for
MOST_BYTES: Final = {"raw": 1.0, "gzip": MOST_PACKED, "bzip2": np.inf, "ascii": 4.0, "hex": 0.5}
MOST_LINES, LONGEST_LINE = 1000, 2**16  # of a header
CHUNK = 2**20  # bytes of packed voxels that are looked at together
LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])
DATA_FILE: Final = ("data file", "datafile")  # of a NRRD; names of files follow where it is LIST
END: Final = "elementdatafile"  # the last field of a MetaImage; the voxels follow


@dataclass(frozen=True)
class TextHeader:
    """The fields of a header by lower-case name; what is attached begins at byte `end`."""

    path: Path
    fields: dict[str, str]
    end: int

    def get(self, *names: str) -> str:
        """The first of these fields that is there, else an empty text."""
        return next((self.fields[name] for name in names if name in self.fields), "")

    def numbers(self, *names: str) -> list[float]:
        """A field as numbers. Raises `DataError` where it is something else."""
        text = self.get(*names)
        try:
            return [float(word) for word in text.split()]
        except ValueError as error:
            raise damaged(self.path, f"{names[0]} is {text}") from error

    def whole(self, *names: str) -> list[int]:
        """A field as whole numbers. Raises `DataError` where it is something else."""
        text = self.get(*names)
        try:
            return [int(word) for word in text.split()]
        except ValueError as error:
            raise damaged(self.path, f"{names[0]} is {text}") from error


@dataclass(frozen=True)
class Payload:
    """Where the voxels of a file lie and how they are stored."""

    files: tuple[Path, ...]  # in the order of the slowest axis, equal parts
    dtype: np.dtype[np.generic]
    packing: Packing
    start: int = 0  # byte of the file at which they begin; -1: as far from its end as they are long
    lines: int = 0  # to pass over after `start`
    skip: int = 0  # bytes to pass over when unpacked


@dataclass(frozen=True)
class Described:
    """What a header says: axes, where they lie, and where the voxels are."""

    path: Path
    sizes: tuple[int, ...]  # of the axes, the fastest first; those of space are the first three
    affine: NDArray[np.float64]  # (4, 4): file index -> RAS+ mm
    payload: Payload
    told: tuple[str, ...] = ()

    def fit(self) -> tuple[Shape, Fit, tuple[str, ...]]:
        """The shape in the file, the grid, and what was mended. Raises `DataError`."""
        shape, mended = spatial_shape(self.path, self.sizes)
        for file in self.payload.files:
            if not file.is_file():
                raise DataError(
                    self.path,
                    found=f"a header whose voxels lie in {file.name}, which is not there",
                    expected="header and voxels in one folder",
                    fix="Copy both, under the names they were written with.",
                )
        fit = placed(self.path, shape, self.affine)
        return shape, fit, mended + self.told + fit.told

    def read(self) -> Raw:
        """The voxels as they are stored. Raises `DataError`."""
        shape, fit, mended = self.fit()
        stored, extra = _read_payload(self.path, self.payload, shape)
        mended += (f"ignored {extra} bytes after the voxels",) if extra else ()
        return Raw(stored.reshape(shape, order="F"), fit, mended)


def read_text_header(path: Path, *, separator: str) -> TextHeader:
    """The lines before the voxels. Raises `DataError`."""
    fields: dict[str, str] = {}
    try:
        with path.open("rb") as stream:
            for _ in range(MOST_LINES):
                line = stream.readline(LONGEST_LINE)
                text = line.decode("latin-1").strip()
                if not line or (separator == ":" and not text):
                    break
                name, found, value = text.partition(separator)
                name = name.strip().lower()
                if text.startswith("#") or not found or value.startswith("="):
                    continue  # a comment, the first line, or := of a user's own field
                if name in fields:
                    raise damaged(path, f"it gives {name} twice")
                fields[name] = value.strip()
                if name == END or (name in DATA_FILE and fields[name].upper().startswith("LIST")):
                    break
            return TextHeader(path, fields, stream.tell())
    except OSError as error:
        raise damaged(path, str(error.strerror or error)) from error


def require_each_edge(path: Path, edges_mm: Sequence[float], dimensions: int) -> None:
    """Raise `DataError` unless there is a sound edge for every axis of space."""
    if dimensions >= 3 and len(edges_mm) < 3:
        raise DataError(
            path,
            found=f"{len(edges_mm) or 'no'} voxel edges in the header",
            expected="one edge per axis, in mm",
            fix="Add the spacing to the header with the tool that wrote it.",
        )
    require_edges(path, edges_mm[:3])


def world(
    directions: NDArray[np.float64], origin: NDArray[np.float64], signs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """File index -> RAS+ mm from vectors (world, axis) and a place in a world with these signs."""
    affine = np.eye(4)
    with np.errstate(invalid="ignore"):  # what is no number is refused later
        affine[:3, :3], affine[:3, 3] = signs @ directions, signs @ origin
    return affine


def data_files(header: TextHeader, text: str) -> tuple[Path, ...]:
    """The files that a field names: one, or a pattern with first number, last number and step.

    Raises `DataError`.
    """
    words = text.split()
    folder = header.path.parent
    if words and words[0].upper() == "LIST":
        with header.path.open("rb") as stream:
            stream.seek(header.end)
            names = stream.read(MOST_LINES * LONGEST_LINE).decode("latin-1").split("\n")
        return _some(header, [folder / name.strip() for name in names if name.strip()])
    pattern = re.fullmatch(r"[^%]*%0?\d*d[^%]*", words[0]) if len(words) in {3, 4, 5} else None
    if pattern is None:
        return (folder / text,)
    try:
        first, last, step = (int(word) for word in [*words[1:4], "1"][:3])
        numbers = range(first, last + (1 if step > 0 else -1), step)
    except ValueError as error:
        raise damaged(header.path, f"the files of its voxels are {text}") from error
    return _some(header, [folder / (words[0] % number) for number in numbers[:MOST_LINES]])


def _some(header: TextHeader, files: list[Path]) -> tuple[Path, ...]:
    if not files:
        raise damaged(header.path, "it names no file of voxels")
    return tuple(files)


def _read_payload(path: Path, payload: Payload, shape: Shape) -> tuple[NDArray[np.generic], int]:
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
    if promised > there * MOST_BYTES[payload.packing]:
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
