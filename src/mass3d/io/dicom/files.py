"""DICOM files, known by their content, in folders and in zip archives."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO

from mass3d.errors import DataError
from mass3d.io.formats.checks import damaged
from mass3d.io.formats.regular_file import open_unbuffered
from mass3d.io.formats.sniff import MARKED, has_dicom_start, is_zip

MAX_BYTES = 2**32  # of one unpacked file; a larger one is a trap, not a scan
# So many times larger than packed is a trap, too: scans shrink to a tenth. Small ones may be blank.
MAX_RATIO, SMALL_BYTES = 100, 2**26
ZIP_DAMAGE = (  # what the standard library raises on broken archives
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error),
    *(ValueError, IndexError, struct.error),
)


@dataclass(frozen=True, order=True)
class DicomFile:
    """A file by itself, or a member of a zip archive."""

    path: Path
    member: str = ""  # the name within the archive; empty for a file by itself

    @property
    def shown(self) -> Path:
        """Where it is, for people."""
        return self.path / self.member if self.member else self.path


def dicom_files(path: Path) -> list[DicomFile]:
    """What is DICOM in a file: itself, some members of an archive, or nothing.

    Raises `DataError` for a broken or encrypted archive, `OSError` for an unreadable file.
    """
    with open_unbuffered(path) as stream:
        start = stream.read(MARKED)
    if has_dicom_start(start):
        return [DicomFile(path)]
    return _members(path) if is_zip(path) else []


class _WithinFile(BufferedReader):
    """Reads no further than the file, so that a broken length takes no memory for the rest."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def opened(files: Iterable[DicomFile]) -> Iterator[tuple[DicomFile, BufferedReader | BytesIO]]:
    """Every file with a stream on its content, in this order.

    An archive is opened once for as many of its members as follow each other. Raises `DataError`.
    """
    for path, run in groupby(files, key=lambda file: file.path):
        with _reading(path) as (stream, archive):
            for file in run:
                if archive is None:
                    stream.seek(0)
                    yield file, stream
                else:
                    yield file, BytesIO(_unpacked(file, archive))


@contextmanager
def _reading(path: Path) -> Iterator[tuple[BufferedReader, zipfile.ZipFile | None]]:
    """A file and, where it is one, its archive; what is wrong with it becomes a `DataError`."""
    try:
        with _WithinFile(open_unbuffered(path)) as stream:
            if is_zip(path):
                with zipfile.ZipFile(stream) as archive:
                    yield stream, archive
            else:
                yield stream, None
    except ZIP_DAMAGE as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise damaged(path, str(error.strerror or error)) from error


def _members(path: Path) -> list[DicomFile]:
    with _reading(path) as (_, archive):
        assert archive is not None
        return [
            DicomFile(path, info.filename)
            for info in sorted(archive.infolist(), key=lambda info: info.filename)
            if _visible(info) and has_dicom_start(_start(archive, info))
        ]


def _visible(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    return not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _start(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    member: IO[bytes]
    with archive.open(info) as member:
        return member.read(MARKED)


def _unpacked(file: DicomFile, archive: zipfile.ZipFile) -> bytes:
    info = archive.getinfo(file.member)
    most = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * info.compress_size))
    if info.file_size > most:
        raise DataError(
            file.shown,
            found=f"{info.file_size} bytes packed into {info.compress_size}",
            expected=f"at most {most} bytes, so that a small archive cannot fill the memory",
            fix="If it is a scan, unpack the archive and give the folder.",
        )
    return archive.read(info)
