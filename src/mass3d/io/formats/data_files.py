"""The files that a detached header names for its voxels: beside it or in folders below."""

from __future__ import annotations

import os
import re
from io import BufferedReader
from pathlib import Path

from mass3d.errors import DataError
from mass3d.io.formats.checks import damaged
from mass3d.io.formats.regular_file import is_regular, open_unbuffered
from mass3d.io.formats.text_header import MAX_HEADER, TextHeader, decoded

MAX_FILES = 10_000  # of one scan
MAX_SHOWN = 100  # letters of a name in a message


def data_files(header: TextHeader, text: str) -> tuple[Path, ...]:
    """The files that a field names: one, or a pattern with first number, last number and step.

    Raises `DataError`, also for a file that lies elsewhere: a header must not turn any file of
    the machine into voxels.
    """
    names = (
        _listed(header)
        if text.split()[:1] and text.split(maxsplit=1)[0].upper() == "LIST"
        else None
    )
    names = names if names is not None else _numbered(header, text)
    if not names:
        raise damaged(header.path, "it names no file of voxels")
    if len(names) > MAX_FILES:
        raise _too_many(header)
    return tuple(_beside(header.path, name) for name in names)


def _listed(header: TextHeader) -> list[str]:
    """The lines after the header, a name each."""
    with BufferedReader(open_unbuffered(header.path)) as stream:
        stream.seek(header.end)
        content = stream.read(MAX_HEADER + 1)
    if len(content) > MAX_HEADER:
        raise _too_many(header)
    return [name.strip() for name in decoded(content).split("\n") if name.strip()]


def _numbered(header: TextHeader, text: str) -> list[str]:
    """The names of a pattern with numbers, or the one name that the text is."""
    words = text.split()
    pattern = re.fullmatch(r"[^%]*%0?\d?\dd[^%]*|[^%]*%d[^%]*", words[0]) if words else None
    if pattern is None or len(words) not in {3, 4, 5}:
        return [text]
    try:
        first, last, step = (int(word) for word in [*words[1:4], "1"][:3])
        numbers = range(first, last + (1 if step > 0 else -1), step)
    except ValueError as error:
        raise damaged(header.path, f"the files of its voxels are {text}") from error
    if abs(last - first) // abs(step) >= MAX_FILES:
        raise _too_many(header)
    return [words[0] % number for number in numbers]


def _beside(path: Path, name: str) -> Path:
    """Where a file of voxels lies. Raises `DataError` unless that is beside the header or below."""
    folder = path.parent
    for text in (name, _as_latin(name)):
        file = folder / text
        if _is_below(file, folder) and is_regular(file):
            return file
    if not _is_below(folder / name, folder):
        raise DataError(
            path,
            found=f"a header whose voxels lie in {shown(name)}, outside its folder",
            expected="header and voxels in one folder, or the voxels below",
            fix="Copy the voxels beside the header, and name them there without their folder.",
        )
    return folder / name


def _is_below(file: Path, folder: Path) -> bool:
    """Whether a path leads to a folder or below, by its words: links there are the user's own."""
    way = os.path.relpath(os.path.abspath(file), os.path.abspath(folder))  # noqa: PTH100
    return not way.startswith(os.pardir)


def _as_latin(name: str) -> str:
    """The name of a file whose system writes one byte per letter."""
    try:
        return os.fsdecode(name.encode("latin-1"))
    except UnicodeEncodeError:
        return name


def shown(name: str) -> str:
    """A name from a file, for a message: short, and in one line."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= MAX_SHOWN else f"{plain[:MAX_SHOWN]}..."


def _too_many(header: TextHeader) -> DataError:
    return DataError(
        header.path,
        found=f"a header that names more than {MAX_FILES} files",
        expected="the files of one scan",
        fix="Write the scan into one file.",
    )
