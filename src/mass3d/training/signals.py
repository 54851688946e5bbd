"""Signals that ask for the end of a run, noted so that the loop can save first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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

    Outside of the main thread signals are the caller's business and nothing is noted.
    """
    stop = StopSignal()
    try:
        before = {number: signal.signal(number, stop) for number in STOPS}
    except ValueError:  # not the main thread
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
