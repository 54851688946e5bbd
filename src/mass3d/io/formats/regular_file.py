"""Opening files: only regular ones, so that no pipe or device is waited for."""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path

from mass3d.errors import DataError


def open_unbuffered(path: Path) -> FileIO:
    """Open a regular file, or what a link leads to. Raises `DataError` for others, `OSError`."""
    if not os.path.isdir(path):  # noqa: PTH112  an error of the system says that better
        _require_regular(path, os.stat(path).st_mode)  # noqa: PTH116  before it is opened
    # not waiting, should it have been replaced by a pipe in between
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _require_regular(path, os.fstat(file.fileno()).st_mode)
    except DataError:
        file.close()
        raise
    return file


def is_regular(path: Path) -> bool:
    """Whether there is a regular file, also where a link leads to one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # too long a name, links in a circle, a zero byte
        return False


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise DataError(
            path,
            found="a pipe, a socket or a device",
            expected="a file",
            fix="Give the file that holds the scan.",
        )
