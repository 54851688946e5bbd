"""Work for the processes of a pool: fresh processes can import this module, unlike a test's own."""

import logging
import os
import signal
import time

from mass3d.errors import DataError

MIB = 1 << 20


def work(job: int) -> int:
    """Ten times the job; the second dies, the third is refused, the fourth is a fault of ours.

    Those of a hundred and more take that many MiB of memory for a second, the largest for much
    longer than it takes to be killed for it.
    """
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 3:
        raise DataError("file", found="x", expected="y", fix="z")
    if job == 4:
        raise ZeroDivisionError("of ours")
    if job >= 100:
        taken = b"x" * (job * MIB)
        time.sleep(60.0 if job >= 500 else 1.0)
        del taken
    return job * 10


def dask_tells_errors(_: int) -> bool:
    """Whether a word of dask about an error would be told in this process."""
    return logging.getLogger("distributed.core").isEnabledFor(logging.ERROR)
