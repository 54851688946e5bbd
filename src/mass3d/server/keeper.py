"""Ends a job whose server has died, by whatever signal: `python -m mass3d.server.keeper`.

It is told the group of processes on a line of its input, and a second line once the job has ended.
Where the input ends before that, the server is gone: the group is asked to end, then killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final

GRACE_S: Final = 10.0  # in which finished work is saved


def keep(told: IO[str], *, grace_s: float = GRACE_S) -> bool:
    """Wait for the end of a job or of its server; returns whether the job had to be ended."""
    first = told.readline().strip()
    if not first.isdecimal() or told.readline():
        return False
    end(int(first), grace_s=grace_s)
    return True


def end(group: int, *, grace_s: float = GRACE_S, gone: Callable[[], bool] | None = None) -> None:
    """Ask a group of processes to end, and kill it if it does not within the time given.

    gone: whether it has ended, where the caller has started it and knows better.
    """
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        until = time.monotonic() + grace_s
        while time.monotonic() < until and not (gone and gone()):
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    keep(sys.stdin)
