"""What leaves the process is whole, versioned and self-describing: atomic files and records."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from mass3d.errors import DataError, Mass3dError, OutputError

VERSION = version("mass3d")
MAX_JSON = 2**30  # bytes of a file; a store of 100,000 cases has some 50 million
LOCK = ".lock"  # in a folder that one process at a time may write into; stays, and is empty

PARTIAL: Final = re.compile(r"\.partial-\d+-.+", re.DOTALL)  # what `whole_file` writes

FREE_SPACE = "Make space there, or choose another place, and run the same command again."
# Why the system does not write, and what to do about it; for other reasons, the last one.
REMEDIES: Final = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose another place.",
    errno.EROFS: "Choose a place that may be written to.",
    errno.EACCES: "Choose a place that you may write to.",
    errno.EPERM: "Choose a place that you may write to.",
}
REMEDY = "Look after the disk, and run the same command again."


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which result could not be written, and what to do, where the system does not.

    Raises `OutputError` for whatever `OSError` the block ends with, but `DataError` for a name that
    is too long.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENAMETOOLONG:  # of one case; the next ones may be written
            raise DataError(
                path.parent,
                found=f"a case name of {len(os.fsencode(path.name))} bytes",
                expected="a name that the file system can hold, often 255 bytes with its ending",
                fix="Give the scan a shorter name.",
            ) from error
        raise OutputError(
            path,
            found=f"{reason[:1].lower()}{reason[1:]}",
            expected="to be able to write here",
            fix=REMEDIES.get(error.errno or 0, REMEDY),
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` that replaces it only when the block succeeds.

    The temporary name keeps every suffix of `path`, because writers choose formats by it.
    A killed process may leave a `.partial-*` file behind, never a half-written `path`. Raises
    `OutputError` when the system does not let it be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
        try:
            yield partial
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path, error: type[Mass3dError]) -> Iterator[None]:
    """Hold the only right to write into a folder, which is made; the system frees it if we die.

    What a killed process has left half-written in it is removed. Raises `error` when another
    process holds it, `OutputError` where nothing can be written.
    """
    lock = FileLock(folder / LOCK)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout as blocked:
            raise error(
                folder,
                found="another mass3d process writing into it",
                expected="one writer at a time",
                fix="Wait for the other one, or choose another output.",
                setting="output",
            ) from blocked
    try:
        with writing(folder):
            _remove_partial(folder)
        yield
    finally:
        lock.release()


def _remove_partial(folder: Path) -> None:
    """Remove what killed processes left of `whole_file`: a state of a run may be gigabytes."""
    for path in folder.glob(".partial-*"):
        if PARTIAL.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that a reader sees all of it or none."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically; bytes of file names that are none are escaped."""
    write_bytes(path, text_bytes(text))


def text_bytes(text: str) -> bytes:
    """A text as `write_text` writes it."""
    return text.encode("utf-8", "backslashreplace")


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV: the names of the columns, then a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_json(path: Path, payload: Mapping[str, object]) -> None:
    """Write `payload` as `json_bytes`, atomically."""
    write_bytes(path, json_bytes(payload))


def json_bytes(payload: Mapping[str, object]) -> bytes:
    """`payload` as a file of sorted, indented JSON.

    Numbers that are NaN or infinite become null: JSON has no word for them, and a file that other
    programs cannot read is worth less than a gap in it.
    """
    text = json.dumps(_finite(payload), indent=2, sort_keys=True, allow_nan=False)
    return (text + "\n").encode()


def _finite(value: object) -> object:
    """The value with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read JSON of a regular file. Raises `OSError` or `ValueError`; callers name the fault."""
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > MAX_JSON:  # `read` would set aside all it may need
            raise ValueError(f"more than {MAX_JSON} bytes")
        content = stream.readall()
    try:
        return json.loads(content)  # bytes: a mark before UTF-8 is taken off
    except RecursionError as error:
        raise ValueError("lists within lists, too many to be read") from error


class NotAFileError(OSError):
    """A pipe, a socket or a device, where a file is wanted."""


def open_regular(path: Path) -> FileIO:
    """Open a regular file, or what a link leads to, so that no pipe or device is waited for.

    Raises `NotAFileError` for what is none, and `OSError`.
    """
    if not os.path.isdir(path):  # noqa: PTH112  an error of the system says that better
        _require_regular(path, os.stat(path).st_mode)  # noqa: PTH116  before it is opened
    # not waiting, should it have been replaced by a pipe in between
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _require_regular(path, os.fstat(file.fileno()).st_mode)
    except NotAFileError:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFileError(errno.EINVAL, "a pipe, a socket or a device", os.fspath(path))


def real(path: Path) -> Path:
    """Where a path leads, also where links go in a circle, which ends at one of them."""
    return Path(os.path.realpath(path))


def file_hash(path: Path) -> str:
    """SHA-256 of the content of a regular file, in hexadecimal. Raises `OSError`."""
    with BufferedReader(open_regular(path)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_hash(payload: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order: a fingerprint of settings."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def run_record(verb: str, config: Mapping[str, object], **facts: object) -> dict[str, object]:
    """The record written beside every result: what ran, with which settings and versions.

    It holds no wall-clock time or host name, so that equal runs leave equal records.
    """
    return {
        "verb": verb,
        "mass3d": VERSION,
        "python": platform.python_version(),
        "config": dict(config),
        **facts,
    }
