"""The files that a detached header names for its voxels."""

from __future__ import annotations

import re
from pathlib import Path

from mass3d.io.formats.checks import damaged
from mass3d.io.formats.text_header import MAX_LINE, MAX_LINES, TextHeader


def data_files(header: TextHeader, text: str) -> tuple[Path, ...]:
    """The files that a field names: one, or a pattern with first number, last number and step.

    Raises `DataError`.
    """
    words = text.split()
    folder = header.path.parent
    if words and words[0].upper() == "LIST":
        with header.path.open("rb") as stream:
            stream.seek(header.end)
            names = stream.read(MAX_LINES * MAX_LINE).decode("latin-1").split("\n")
        return _require_some(header, [folder / name.strip() for name in names if name.strip()])
    pattern = re.fullmatch(r"[^%]*%0?\d*d[^%]*", words[0]) if len(words) in {3, 4, 5} else None
    if pattern is None:
        return (folder / text,)
    try:
        first, last, step = (int(word) for word in [*words[1:4], "1"][:3])
        numbers = range(first, last + (1 if step > 0 else -1), step)
    except ValueError as error:
        raise damaged(header.path, f"the files of its voxels are {text}") from error
    return _require_some(header, [folder / (words[0] % number) for number in numbers[:MAX_LINES]])


def _require_some(header: TextHeader, files: list[Path]) -> tuple[Path, ...]:
    if not files:
        raise damaged(header.path, "it names no file of voxels")
    return tuple(files)
