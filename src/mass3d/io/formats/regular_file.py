"""Opening files: only regular ones, so that no pipe or device is waited for."""

from __future__ import annotations

import stat
from io import FileIO
from pathlib import Path

from mass3d.errors import DataError
from mass3d.files import NotAFileError, open_regular


def open_unbuffered(path: Path) -> FileIO:
    """Open a regular file, or what a link leads to. Raises `DataError` for others, `OSError`."""
    try:
        return open_regular(path)
    except NotAFileError as error:
        raise DataError(
            path,
            found="a pipe, a socket or a device",
            expected="a file",
            fix="Give the file that holds the scan.",
        ) from error


def is_regular(path: Path) -> bool:
    """Whether there is a regular file, also where a link leads to one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # too long a name, links in a circle, a zero byte
        return False
