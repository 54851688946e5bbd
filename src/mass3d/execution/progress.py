"""How far work has come, for people: a bar with the time left, or lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mass3d.errors import printable
from mass3d.execution.processes import started_processes

MAX_LINES = 20  # rows that a whole run leaves in a log file
MAX_SENTENCES = 10  # told of cases while they are worked on; a report has all


class Advance(Protocol):
    """Say how many of all steps are done, and in a few words how it goes."""

    def __call__(self, done: int, told: str = "") -> None:
        """`done` counts from 0 to the total; it may jump, and begin above 0."""


def tell(sentence: str) -> None:
    """A line on stderr, by the first of several processes."""
    if not started_processes().first:
        return
    _console().print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


def tell_all(warnings: Iterable[str]) -> None:
    """Each warning on a line of its own, before the work that it is about."""
    for warning in warnings:
        tell(f"Warning: {warning}.")


class TellOnce:
    """Tells what is noted of a case as soon as it is known, and each sentence only once.

    A run of hours on scans of the wrong kind can then be stopped at the first of them.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, case: str, sentences: Iterable[str]) -> None:
        """Tell the sentences that are new, while they are few."""
        for sentence in sentences:
            if sentence not in self._told and len(self._told) < MAX_SENTENCES:
                self._told.add(sentence)
                tell(f"{case}: {sentence}")


def _console() -> Console:
    return Console(file=cast("IO[str]", _Unheard(sys.stderr)))


class _Unheard:
    """A stream whose other end may go, as a terminal or `tee` does, before work has been saved."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show how far `total` steps have come: a bar on a terminal, else at most 20 lines."""
    console = _console()
    if not console.is_terminal or not started_processes().first:
        yield _lines(title, total)
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, told="")
        yield lambda done, told="": bar.update(task, completed=done, told=told)


def _lines(title: str, total: int) -> Advance:
    """Plain lines with the time left, which is measured from the first call on."""
    clock = Clock(time.monotonic)
    every = max(1, total // MAX_LINES)
    last = 0

    def line(done: int, told: str = "") -> None:
        nonlocal last
        left = clock.left(done, total)
        if done < total and done - last < every:
            return
        last = done
        tell("  ".join(filter(None, (f"{title} {done}/{total}", told, left))))

    return line


class Clock:
    """How long the rest takes, at the pace so far.

    A run that goes on at a later step is timed from the first step it tells.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._start = now, now()
        self._first: int | None = None

    def left(self, done: int, total: int) -> str:
        """The time left in words; nothing while the pace is unknown, or when all is done."""
        if self._first is None:
            self._first = 0 if done <= 1 else done
            self._start = self._start if done <= 1 else self._now()
        if done <= self._first or done >= total:
            return ""
        pace = (self._now() - self._start) / (done - self._first)
        return f"about {duration(pace * (total - done))} left"


def duration(seconds: float) -> str:
    """40 s, 5 min, 2 h 10 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
