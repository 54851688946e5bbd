"""Blocking work of a server in threads: little of it at once, and volumes apart from the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

LIGHT: Final = 4  # threads for small files
HEAVY: Final = 2  # volumes that are in memory at once


class Work:
    """The threads of one server; what asks for a small file never waits for a volume."""

    def __init__(self) -> None:
        self._light = CapacityLimiter(LIGHT)
        self._heavy = CapacityLimiter(HEAVY)

    async def light(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run what reads or writes small files."""
        return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self._light)

    async def heavy(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run what holds a volume in memory."""
        return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self._heavy)
