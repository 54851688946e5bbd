"""Run one function over many cases in several processes; a dying worker costs one case."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mass3d.errors import ConfigError, Mass3dError, OutputError
from mass3d.execution.summary import Fault

J = TypeVar("J")
R = TypeVar("R")
# takes the name of a case and what is needed for it; what cannot be written ends all
_Task = Callable[[str, J], R | Fault | OutputError]
_Outcomes = Generator[tuple[str, R | Fault | OutputError], None, None]
LINES = 10  # rows a whole run leaves in a log file
DIED = (
    "its worker process died every time it was tried, most likely for want of memory; "
    "take more memory or a larger spacing_mm"
)


def run_cases(
    function: Callable[[J], R],
    jobs: Mapping[str, J],
    *,
    workers: int | None,
    title: str,
    bytes_each: float,
    scheduler: str | None = None,
    folder: Path | None = None,
) -> dict[str, R | Fault]:
    """What `function` returns for every job, or the fault it ended with; in the order of `jobs`.

    workers: 1 works in this very process, None takes as many as cores and memory allow when each
    needs `bytes_each`. Workers are fresh processes, so `function` must be importable and scripts
    must call from under `if __name__ == "__main__"`. scheduler: address of a dask scheduler whose
    workers do it instead; they must see `folder`, into which `function` writes. Raises
    `ConfigError` when they do not, or nobody answers, and the first `OutputError` of a job.
    """
    _require_one_place(workers, scheduler)
    task = partial(_attempt, function)
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
        )
    )
    found: dict[str, R | Fault] = {}
    with _progress(title, len(jobs)) as advance, closing(outcomes):
        for name, outcome in outcomes:
            if isinstance(outcome, OutputError):
                raise outcome
            found[name] = outcome
            advance()
    return {name: found[name] for name in jobs}


def _require_one_place(workers: int | None, scheduler: str | None) -> None:
    if workers is not None and scheduler is not None:
        raise ConfigError(
            "workers",
            found=f"{workers} workers and the scheduler {scheduler}",
            expected="one of the two",
            fix="Leave workers out: a scheduler has its own.",
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
) -> _Outcomes[R]:
    # loading dask takes a third of a second, which not every command should wait for
    from mass3d.execution import cluster  # noqa: PLC0415

    if scheduler is None:
        crew = cluster.plan_crew(len(jobs), asked=workers, bytes_each=bytes_each)
        _tell(str(crew))
        ended = cluster.on_this_machine(task, jobs, workers=crew.workers)
    else:
        ended = cluster.on_scheduler(task, jobs, address=scheduler, folder=folder, tell=_tell)
    with closing(ended):
        for name, outcome in ended:
            yield name, Fault(name, DIED) if isinstance(outcome, cluster.Died) else outcome


def _attempt(function: Callable[[J], R], name: str, job: J) -> R | Fault | OutputError:
    try:
        return function(job)
    except OutputError as error:  # a full disk is full for the cases after this one, too
        return error
    except (Mass3dError, OSError) as error:
        return Fault(name, str(error))
    except Exception as error:  # a fault of ours must not cost the cases after it
        return Fault(name, f"unexpected {type(error).__name__}: {error}")


def _tell(sentence: str) -> None:
    Console(file=sys.stderr).print(sentence, highlight=False)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar with the time left, or a few plain lines where no one looks."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        done = iter(range(1, total + 1))
        every = max(1, total // LINES)

        def line() -> None:
            number = next(done)
            if number % every == 0 or number == total:
                console.print(f"{title} {number}/{total}", highlight=False)

        yield line
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
