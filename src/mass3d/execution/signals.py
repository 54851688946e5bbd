"""Signals that ask for the end of a command: noted where work can be saved first, else an error."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from mass3d.errors import Interrupted

STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
Handler = Callable[[int, FrameType | None], None]


class StopSignal:
    """The first signal that came; a second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0 for none

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        del frame
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Note Ctrl-C, SIGTERM (a cluster takes the machine) and SIGHUP (a closed terminal).

    SIGUSR1 and SIGUSR2 are what a queue can be asked to send some time before it ends a job.
    Outside of the main thread signals are the caller's business and nothing is noted.
    """
    stop = StopSignal()
    with _handled(stop):
        yield stop


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """Raise `Interrupted` about `what` at the first of the same signals, wherever the work is.

    All that holds processes, locks or temporary folders lets go of them on the way out, which the
    system's own end of a process would not do.
    """
    came = signal.SIGINT

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal came
        del frame
        came = signal.Signals(number)
        raise KeyboardInterrupt

    try:
        with _handled(stop):
            yield
    except KeyboardInterrupt:
        raise Interrupted(
            what,
            found=came.name,
            expected="the end of the work",
            fix="What is finished is kept: the same command goes on from there.",
            number=came,
        ) from None


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Have the signals go to `handler`; but SIGHUP not under nohup, which has it ignored."""
    before = {}
    try:
        for number in STOPS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread
        pass
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
