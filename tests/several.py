"""Commands of several processes, as tests start them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def slurm_to_end(
    words: Sequence[str], number: int, *, timeout: int = 240, **told: str
) -> list[subprocess.CompletedProcess[str]]:
    """What the tasks of `srun -n NUMBER` on one machine came to, by the variables that it sets."""
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": str(time.monotonic_ns() % 9973),  # another port for each call
        "SLURM_NTASKS": str(number),
        "SLURM_STEP_NUM_TASKS": str(number),
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": str(number),
        "SLURM_CPUS_ON_NODE": str(len(os.sched_getaffinity(0))),
        **told,
    }
    tasks = [
        subprocess.Popen(
            words,
            env=os.environ
            | ONE_THREAD
            | step
            | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    try:
        return [
            subprocess.CompletedProcess(words, task.returncode, *said)
            for task, said in [(task, task.communicate(timeout=timeout)) for task in tasks]
        ]
    finally:
        for task in tasks:
            task.kill()  # of those that wait for one that is gone
            task.communicate()


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
