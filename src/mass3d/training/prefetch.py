"""Batches made ahead of their step by a thread, in order, as if they were made in turn."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Generic, NamedTuple, TypeVar

Batch = TypeVar("Batch")


class _Made(NamedTuple, Generic[Batch]):
    batch: Batch | None
    error: BaseException | None


@contextmanager
def prefetched(
    make: Callable[[int], Batch], numbers: Iterable[int], *, ahead: int
) -> Iterator[Iterator[Batch]]:
    """`make(i)` of all `numbers`, at most `ahead` of them before they are asked for.

    An error of `make`, or of `numbers`, is raised where its batch would have come. Leaving the
    block ends the thread once it has made the batch that it is at. With `ahead` 0 there is no
    thread.
    """
    if ahead == 0:
        yield map(make, numbers)
        return
    with closing(_made_ahead(make, numbers, ahead)) as batches:
        yield batches


def _made_ahead(
    make: Callable[[int], Batch], numbers: Iterable[int], ahead: int
) -> Generator[Batch]:
    ready: queue.Queue[_Made[Batch] | None] = queue.Queue()
    free = threading.Semaphore(ahead)
    left = threading.Event()

    def work() -> None:
        try:
            for number in numbers:
                free.acquire()
                if left.is_set():
                    return
                ready.put(_Made(make(number), None))
            ready.put(None)
        except BaseException as error:  # raised again where it belongs
            ready.put(_Made(None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (made := ready.get()) is not None:
            if made.error is not None:
                raise made.error
            free.release()
            yield made.batch  # type: ignore[misc]
    finally:
        left.set()
        free.release()
        thread.join()
