"""Run one function over many cases in several processes; a dying worker costs one case."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from mass3d.errors import ConfigError, Interrupted, OutputError
from mass3d.execution.faults import Fault, Stop, attempt, worker_died
from mass3d.execution.progress import progress, tell

J = TypeVar("J")
R = TypeVar("R")
_Task = Callable[[str, J], R | Fault | Stop]  # takes the name of a case and what it needs
_Outcomes = Generator[tuple[str, R | Fault | Stop], None, None]


def run_cases(
    function: Callable[[J], R],
    jobs: Mapping[str, J],
    *,
    workers: int | None,
    title: str,
    bytes_each: float = 0.0,
    scheduler: str | None = None,
    folder: Path | None = None,
    instead: str = "",
    each: Callable[[str, R | Fault], None] | None = None,
) -> dict[str, R | Fault]:
    """What `function` returns for every job, or the fault it ended with; in the order of `jobs`.

    workers: 1 works in this very process, None takes as many as cores and memory allow when each
    needs `bytes_each`. Workers are fresh processes, so `function` must be importable and scripts
    must call from under `if __name__ == "__main__"`. scheduler: address of a dask scheduler whose
    workers do it instead; they must see `folder`, into which `function` writes. instead: what the
    fault of a case that lacked memory names as another way. each: takes every name and outcome as
    soon as it is there, in this process. Raises `ConfigError` when the workers of a scheduler do
    not see `folder`, or nobody answers, and the first `OutputError` of a job.
    """
    _require_one_place(workers, scheduler)
    task = partial(attempt, function, instead=instead)
    outcomes = (
        _inline(task, jobs)
        if workers == 1 or not jobs
        else _in_processes(
            task,
            jobs,
            workers=workers,
            bytes_each=bytes_each,
            scheduler=scheduler,
            folder=folder,
            instead=instead,
        )
    )
    found: dict[str, R | Fault] = {}
    with progress(title, len(jobs)) as advance, closing(outcomes):
        for name, outcome in outcomes:
            if isinstance(outcome, OutputError | Interrupted):
                raise outcome
            found[name] = outcome
            if each is not None:
                each(name, outcome)
            advance(len(found))
    return {name: found[name] for name in jobs}


def _require_one_place(workers: int | None, scheduler: str | None) -> None:
    if workers is not None and scheduler is not None:
        raise ConfigError(
            "workers",
            found=f"{workers} workers and the scheduler {scheduler}",
            expected="one of the two",
            fix="Leave workers out: a scheduler has its own.",
            setting="workers",
        )


def _inline(task: _Task[J, R], jobs: Mapping[str, J]) -> _Outcomes[R]:
    for name, job in jobs.items():
        yield name, task(name, job)


def _in_processes(
    task: _Task[J, R],
    jobs: Mapping[str, J],
    *,
    workers: int | None,
    bytes_each: float,
    scheduler: str | None,
    folder: Path | None,
    instead: str,
) -> _Outcomes[R]:
    # loading dask takes a third of a second, which not every command should wait for
    from mass3d.execution import cluster  # noqa: PLC0415

    if scheduler is None:
        plan = cluster.plan_workers(len(jobs), asked=workers, bytes_each=bytes_each)
        tell(str(plan))
        ended = cluster.on_this_machine(task, jobs, workers=plan.workers)
    else:
        ended = cluster.on_scheduler(task, jobs, address=scheduler, folder=folder, tell=tell)
    with closing(ended):
        for name, outcome in ended:
            if isinstance(outcome, cluster.WorkerDied):
                yield name, worker_died(name, instead=instead)
            else:
                yield name, outcome
