"""How much memory there is now. Knows no scan, so that the loop may ask as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import psutil

GIB = 1024**3
ROOT = Path("/")  # of the file system


class Hierarchy(NamedTuple):
    """How Linux tells of the memory of control groups."""

    place: str  # where the groups lie
    controller: str  # which the line of the own group in /proc/self/cgroup names
    limit: str
    used: str
    cache: str  # a row of memory.stat: files that were read, which go when memory is needed


HIERARCHIES: Final = (
    Hierarchy("sys/fs/cgroup", "", "memory.max", "memory.current", "inactive_file"),
    Hierarchy(
        "sys/fs/cgroup/memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def available_bytes() -> int:
    """Memory that may be used now: what the machine has free, or less where a group is limited."""
    return max(0, min([int(psutil.virtual_memory().available), *free_of_groups(ROOT)]))


def free_of_groups(root: Path) -> Iterator[int]:
    """What is left to the control group of this process and to each around it that has a limit.

    root: of the file system. Files that were read count as free: the system drops them when memory
    is needed.
    """
    for one in HIERARCHIES:
        for folder in _groups(root, one):
            with suppress(OSError, ValueError):  # no group of this kind, or no limit: `max`
                limit, used = (int((folder / name).read_text()) for name in (one.limit, one.used))
                yield limit - max(0, used - _cached(folder, one.cache))


def _groups(root: Path, hierarchy: Hierarchy) -> list[Path]:
    """The group of this process and those around it; in a container they end at its own."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    named = [line.split(":", 2) for line in lines]
    own = [
        PurePosixPath(path) for _, names, path in named if hierarchy.controller in names.split(",")
    ]
    inside = [PurePosixPath("/"), *(group for path in own for group in (path, *path.parents))]
    return [root / hierarchy.place / group.relative_to("/") for group in dict.fromkeys(inside)]


def _cached(folder: Path, name: str) -> int:
    """A row of memory.stat; 0 where it is not told."""
    with suppress(OSError):
        rows = (line.partition(" ") for line in (folder / "memory.stat").read_text().splitlines())
        return next((int(value) for key, _, value in rows if key == name), 0)
    return 0
