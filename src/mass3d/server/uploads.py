"""What a browser sends: received piece by piece, never more than fits, unpacked within a bound."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from starlette.requests import Request

from mass3d.errors import DataError
from mass3d.files import writing
from mass3d.io.formats.checks import damaged
from mass3d.io.formats.gunzip import GZIP, GunzipStream
from mass3d.io.formats.sniff import sniff
from mass3d.server.refusal import Refused, too_large
from mass3d.server.work import Work

MAX_JSON: Final = 2**20  # bytes of a body of JSON
ROOM: Final = 2**22  # bytes that a label map may have before and after its voxels
VOXEL_BYTES: Final = 8  # of the largest type that values may come in
PIECE: Final = 2**20


def most_bytes(shape: tuple[int, ...]) -> int:
    """Bytes that a label map on a grid of this shape may have, packed or not."""
    return math.prod(shape) * VOXEL_BYTES + ROOM


async def json_of(request: Request) -> Any:
    """The body as JSON. Raises `Refused`."""
    body = bytearray()
    async for piece in pieces_of(request, MAX_JSON):
        body += piece
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(
            422, found="a body that is no JSON", expected="JSON", fix="Send what the page sends."
        ) from error


async def pieces_of(request: Request, most: int) -> Any:
    """The body, piece by piece. Raises `Refused` (413) before more than `most` bytes are taken."""
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most:
        raise too_large(f"a body of {told[:20]} bytes", most)
    taken = 0
    async for piece in request.stream():
        taken += len(piece)
        if taken > most:
            raise too_large("a longer body", most)
        yield piece


async def received(request: Request, target: Path, most: int, work: Work) -> None:
    """Write the body into a file. Raises `Refused` and `OutputError`."""
    waiting = bytearray()
    await work.light(_append, target, b"")
    async for piece in pieces_of(request, most):
        waiting += piece
        if len(waiting) >= PIECE:
            await work.light(_append, target, bytes(waiting))
            waiting.clear()
    await work.light(_append, target, bytes(waiting))


def _append(target: Path, content: bytes) -> None:
    with writing(target), target.open("ab") as stream:
        stream.write(content)


@contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """A folder for one upload, which leaves nothing behind."""
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(dir=cache, prefix="upload-", ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)


def plain_nifti(packed: Path, most: int) -> Path:
    """The NIfTI file of an upload, unpacked; no more than `most` bytes are ever written.

    Raises `Refused`: 422 for what is no NIfTI or damaged, 413 for what unpacks to more.
    """
    _require_nifti(packed)
    target = packed.with_name("unpacked.nii")
    with BufferedReader(packed.open("rb", buffering=0)) as stream:
        if stream.peek(2)[:2] != GZIP:
            return packed
        try:
            _unpack(GunzipStream(stream), target, most)
        except (EOFError, zlib.error) as error:
            broken = damaged(packed, str(error))
            raise _refused(broken.found, broken.expected, broken.fix) from error
    return target


def _require_nifti(packed: Path) -> None:
    try:
        kind = sniff(packed)
    except DataError as error:
        raise _refused(error.found, error.expected, error.fix) from error
    if kind != "nifti":
        raise _refused("another kind of file", "NIfTI (.nii, .nii.gz)", "Convert it to NIfTI.")


def _refused(found: str, expected: str, fix: str) -> Refused:
    return Refused(422, "the label map", found=found, expected=expected, fix=fix)


def _unpack(stream: GunzipStream, target: Path, most: int) -> None:
    taken = 0
    with writing(target), target.open("wb") as out:
        while piece := stream.read(PIECE):
            taken += len(piece)
            if taken > most:
                raise too_large("a file that unpacks to more", most)
            out.write(piece)
