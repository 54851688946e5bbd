"""Commands of several processes, as tests start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mass3d.training.resume import ResumeRecord, read_record

TORCHRUN: Final = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node", "2"),
)
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}  # of each process


def run_to_end(words: Sequence[str], *, timeout: int = 240) -> subprocess.CompletedProcess[str]:
    """What a command came to, of whose processes each has one thread."""
    return subprocess.run(
        words,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def require_done(words: Sequence[str], *, timeout: int = 240) -> str:
    """What a command said that came to a good end."""
    done = run_to_end(words, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def require_killed(done: subprocess.CompletedProcess[str], run: Path) -> ResumeRecord:
    """What a run of `training_jobs` has saved that was killed in its fifth step."""
    assert done.returncode != 0
    record = read_record(run)
    assert record is not None
    assert record.step in (2, 4)  # batches are made ahead
    return record
