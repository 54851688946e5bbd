"""How much memory there is now. Knows no scan, so that the loop may ask as well."""

from __future__ import annotations

from pathlib import Path

import psutil

GIB = 1024**3
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that may be used now: what the machine has free, or less where a group is limited."""
    limits = [int(psutil.virtual_memory().available)]
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        limits.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(limits))
