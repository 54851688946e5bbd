"""What each process of a run finds out by itself, and all then go on with or end with.

A process that ends alone leaves the others waiting for hours, and one that reads another folder
than they do gives weights that nobody asked for.
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import torch.distributed
from lightning_fabric import Fabric

from mass3d.errors import Mass3dError, ModelError
from mass3d.execution.faults import first_line
from mass3d.execution.processes import Processes
from mass3d.files import text_hash
from mass3d.training import checkpoint
from mass3d.training.fabric import lost_process_told, of_all_processes
from mass3d.training.resume import ResumeRecord, read_record, require_same_run
from mass3d.training.run_files import RESUME, WEIGHTS

Made = TypeVar("Made")

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


@contextmanager
def writing(fabric: Fabric, processes: Processes, run: Path) -> Iterator[None]:
    """As `Processes.writing`: a folder that another command writes into is refused by all."""
    with ExitStack() as held:
        with same_fate(fabric, run):
            held.enter_context(processes.writing(run))
        yield


def in_turn(fabric: Fabric, run: Path, make: Callable[[], Made]) -> Made:
    """What each process makes, the first before the others, which find what it has written."""
    made: list[Made] = []
    for turn in (True, False):
        with same_fate(fabric, run):
            if turn == fabric.is_global_zero:
                made.append(make())
    return made[0]


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


class Sight(NamedTuple):
    """What a process finds in the folder of the run, and what it was given."""

    run: str  # in words
    content: str  # hash of the state that it would go on with
    facts: str  # hash of what decides the weights, the content of the stores among it


def require_same_sight(fabric: Fabric, run: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Raise `ModelError` in all processes unless all see one run, and are given the same.

    Folders of one path may be several: on a disk of each machine, or where one mount is missing.
    """
    if fabric.world_size == 1:
        return
    with same_fate(fabric, run):
        mine = _sight(run, facts or {})
    told = of_all_processes(fabric, [(socket.gethostname(), mine)])
    if len({sight for _, sight in told}) == 1:
        return
    found = [
        f"process {rank} on {host}: {_in_words(sight)}" for rank, (host, sight) in enumerate(told)
    ]
    raise ModelError(
        run,
        found=f"processes that do not see the same ({'; '.join(found)})",
        expected="the same run folder, stores and settings for all of them",
        fix="Put them where every machine sees them under the same path, and start again.",
    )


def same_record(fabric: Fabric, run: Path, facts: Mapping[str, Any]) -> ResumeRecord | None:
    """The record of the state that all go on with; None where the run begins.

    Raises as `require_same_sight` and `require_same_run`.
    """
    require_same_sight(fabric, run, facts)
    with same_fate(fabric, run):
        require_same_run(run, facts)
        return read_record(run)


def _sight(run: Path, facts: Mapping[str, Any]) -> Sight:
    decided = text_hash(facts)
    if (run / RESUME).exists():
        header = checkpoint.read_header(run / RESUME)
        return Sight(f"a run after step {header.facts.get('step')}", header.digest, decided)
    if (run / WEIGHTS).exists():
        return Sight("a finished run", checkpoint.read_header(run / WEIGHTS).digest, decided)
    return Sight("no run", "", decided)


def _in_words(sight: Sight) -> str:
    state = f" ({sight.content[:8]})" if sight.content else ""
    return f"{sight.run}{state}, stores and settings {sight.facts[:8]}"
