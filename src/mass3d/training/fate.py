"""What ends one process of a run ends all of them: no other waits for it, or goes on without it."""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch.distributed
from lightning_fabric import Fabric

from mass3d.errors import Mass3dError, ModelError
from mass3d.execution.faults import first_line
from mass3d.execution.processes import Processes
from mass3d.training.fabric import lost_process_told

UNTIL_DONE: Final = timedelta(days=1000)  # alignments of a large cohort take hours


@contextmanager
def same_fate(fabric: Fabric, run: Path) -> Iterator[None]:
    """What ends the block in one process is raised in all, once all have come to its end.

    run: the folder that is told where no error of ours was raised. Within the block no process may
    wait for another.
    """
    if fabric.world_size == 1:
        yield
        return
    # the usual group of GPUs would keep a core of each busy while it waits
    group = torch.distributed.new_group(backend="gloo", timeout=UNTIL_DONE)
    mine: BaseException | None = None
    try:
        yield
    except BaseException as error:
        mine = error
    told: list[tuple[str, BaseException | None]] = [("", None)] * fabric.world_size
    try:
        with lost_process_told(run, Processes(total=fabric.world_size)):
            ended = (socket.gethostname(), _sendable(mine, run))
            torch.distributed.all_gather_object(told, ended, group=group)
    except Exception:  # that others are gone is told only where nothing went wrong here
        if mine is None:
            raise
    if mine is not None:
        raise mine
    torch.distributed.destroy_process_group(group)
    for rank, (host, theirs) in enumerate(told):
        if theirs is not None:
            raise _of(theirs, f"process {rank} on {host}")


def _sendable(error: BaseException | None, run: Path) -> BaseException | None:
    """What the others are told of an error, which may hold what cannot be sent."""
    if error is None or isinstance(error, Mass3dError):
        return error
    if isinstance(error, KeyboardInterrupt) or not isinstance(error, Exception):
        return KeyboardInterrupt()
    return ModelError(
        run,
        found=f"{type(error).__name__}: {first_line(error)}",
        expected="every process to go on",
        fix="See what that process tells.",
    )


def _of(error: BaseException, where: str) -> BaseException:
    """An error of another process, which says so."""
    if not isinstance(error, Mass3dError):
        return error
    told = copy.copy(error)
    told.found = f"{error.found} in {where}"
    told.args = (f"{told.where}: found {told.found}; expected {told.expected}. {told.fix}",)
    return told
