"""Run one function over many cases in several processes; a dying worker costs one case."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mass3d.apps.outcome import Fault
from mass3d.errors import Mass3dError

J = TypeVar("J")
R = TypeVar("R")
LINES = 10  # rows a whole run leaves in a log file


def run_cases(
    function: Callable[[J], R],
    jobs: Mapping[str, J],
    *,
    workers: int | None,
    title: str,
    bytes_each: float,
) -> dict[str, R | Fault]:
    """What `function` returns for every job, or the fault it ended with; in the order of `jobs`.

    workers: 1 works in this very process, None takes as many as cores and memory allow when each
    needs `bytes_each`. Workers are fresh processes, so `function` must be importable and scripts
    must call from under `if __name__ == "__main__"`.
    """
    count = workers or worker_count(len(jobs), bytes_each=bytes_each)
    found: dict[str, R | Fault] = {}
    outcomes = _inline(function, jobs) if workers == 1 else _in_pool(function, jobs, count)
    with _progress(title, len(jobs)) as advance, closing(outcomes):
        for name, outcome in outcomes:
            found[name] = outcome
            advance()
    return {name: found[name] for name in jobs}


def worker_count(num_jobs: int, *, bytes_each: float) -> int:
    """As many workers as there are jobs, cores and memory for; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(num_jobs, cores or 1, int(available_bytes() // max(bytes_each, 1.0))))


def available_bytes() -> int:
    """Memory that may be used now: what the machine has free, or less where a group is limited."""
    machine = Path("/proc/meminfo")
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    if machine.exists():
        rows = dict(line.split(":", 1) for line in machine.read_text().splitlines())
        limits = [int(rows["MemAvailable"].split()[0]) * 1024]
    most, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if most.exists() and used.exists() and most.read_text().strip() != "max":
        limits.append(int(most.read_text()) - int(used.read_text()))
    return max(0, min(limits))


def _inline(
    function: Callable[[J], R], jobs: Mapping[str, J]
) -> Generator[tuple[str, R | Fault], None, None]:
    for name, job in jobs.items():
        yield name, _attempt(function, name, job)


def _in_pool(
    function: Callable[[J], R], jobs: Mapping[str, J], workers: int
) -> Generator[tuple[str, R | Fault], None, None]:
    waiting = deque(jobs.items())
    while waiting:
        suspects = yield from _until_one_dies(function, waiting, workers)
        for name, job in suspects:  # each on its own shows which one kills its worker
            if (yield from _until_one_dies(function, deque([(name, job)]), 1)):
                yield (
                    name,
                    Fault(
                        name,
                        "its worker process died twice, most likely for want of memory; "
                        "take fewer workers, more memory or a larger spacing_mm",
                    ),
                )


def _until_one_dies(
    function: Callable[[J], R], waiting: deque[tuple[str, J]], workers: int
) -> Generator[tuple[str, R | Fault], None, list[tuple[str, J]]]:
    """Work until nothing waits or a worker dies; returns the jobs that were then under way."""
    others = set(multiprocessing.active_children())
    running: dict[Future[R | Fault], tuple[str, J]] = {}
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name, job = waiting[0]
                running[pool.submit(_attempt, function, name, job)] = (name, job)
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                name, _ = running.pop(future)
                yield name, outcome
    except BrokenProcessPool:
        return list(running.values())
    except BaseException:  # Ctrl+C above all: do not wait for cases under way
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return []


def _attempt(function: Callable[[J], R], name: str, job: J) -> R | Fault:
    try:
        return function(job)
    except (Mass3dError, OSError) as error:
        return Fault(name, str(error))
    except Exception as error:  # a fault of ours must not cost the cases after it
        return Fault(name, f"unexpected {type(error).__name__}: {error}")


def _begin_worker() -> None:
    """Leave Ctrl+C to the parent, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()


def _end_with(wait_for_parent: Callable[[], None]) -> None:
    wait_for_parent()
    os._exit(1)


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
