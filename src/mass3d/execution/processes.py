"""The processes that one command was started as: by torchrun, by srun of SLURM, or one alone.

They are told by variables of the environment, which is read when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from mass3d.errors import ConfigError, ModelError
from mass3d.files import only_writer

ELASTIC: Final = "TORCHELASTIC_RUN_ID"  # what torchrun started
TORCHRUN: Final = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
SRUN: Final = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_LOCALID")


class Processes(NamedTuple):
    """How many there are, and which of them this one is."""

    rank: int = 0  # of this one among all; the first writes and tells
    total: int = 1
    machines: int = 1
    local: int = 0  # rank among those of its machine

    @property
    def first(self) -> bool:
        """Whether this one writes files and tells how it goes."""
        return self.rank == 0

    @property
    def per_machine(self) -> int:
        """Processes of each machine."""
        return self.total // self.machines

    def cores(self) -> int:
        """Cores for this process, at least one: its share of those that the system gives it.

        What SLURM gives a task may be its share already.
        """
        given = len(os.sched_getaffinity(0))
        told = "0" if ELASTIC in os.environ else os.environ.get("SLURM_CPUS_ON_NODE", "0")
        bound = given * self.per_machine <= int(told)
        return max(1, given if bound else given // self.per_machine)

    @contextmanager
    def writing(self, run: Path) -> Iterator[None]:
        """The first of them alone writes into a run folder, and nobody beside them does."""
        if not self.first:
            yield
            return
        with only_writer(run, ModelError):
            yield


ALONE: Final = Processes()


def started_processes() -> Processes:
    """What this process is part of. Raises `ConfigError` where machines have unequal shares."""
    if ELASTIC in os.environ:
        rank, total, here, local = (int(os.environ[name]) for name in TORCHRUN)
        found = Processes(rank, total, total // here, local)
        return _checked("torchrun", found, even=total % here == 0)
    if all(name in os.environ for name in SRUN):  # a batch script without srun has not all of them
        found = Processes(*(int(os.environ[name]) for name in SRUN))
        # such as 3,1 where machines differ, and 2(x2) where they do not
        even = "," not in os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
        return _checked("srun", found, even=even and found.total % found.machines == 0)
    return ALONE


def require_alone(verb: str) -> None:
    """Raise `ConfigError` where several processes were started for a verb that is for one.

    Each of them would do all of the work, and they would be in each other's way.
    """
    total = started_processes().total
    if total > 1:
        starter = "torchrun" if ELASTIC in os.environ else "srun"
        once = "" if starter == "torchrun" else ", or with srun --ntasks 1"
        raise ConfigError(
            f"mass3d {verb}",
            found=f"{total} processes that {starter} started",
            expected="one: only pretrain is for several",
            fix=f"Start {verb} without {starter}{once}.",
        )


def _checked(starter: str, found: Processes, *, even: bool) -> Processes:
    if not even:
        raise ConfigError(
            starter,
            found=f"{found.total} processes, not as many on each machine",
            expected="the same number on each",
            fix="Ask for a number of processes per machine, not in all.",
        )
    return found
