"""Work for the processes of a pool: fresh processes can import this module, unlike a test's own."""

import os
import signal
import time

from mass3d.errors import DataError


def work(job: int) -> int:
    """Ten times the job; the second dies, the third is refused, the fourth is a fault of ours."""
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 3:
        raise DataError("file", found="x", expected="y", fix="z")
    if job == 4:
        raise ZeroDivisionError("of ours")
    time.sleep(0.01)
    return job * 10
