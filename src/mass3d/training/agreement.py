"""What each process of a run finds out by itself, and all then go on with or end with.

A process that ends alone leaves the others waiting for hours, and one that reads another folder
than they do gives weights that nobody asked for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lightning_fabric import Fabric

from mass3d.errors import ModelError
from mass3d.execution.processes import Processes
from mass3d.files import text_hash
from mass3d.training import checkpoint
from mass3d.training.fabric import of_all_processes
from mass3d.training.fate import same_fate
from mass3d.training.resume import ResumeRecord, read_record, require_same_run
from mass3d.training.run_files import RESUME, WEIGHTS

Made = TypeVar("Made")


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
