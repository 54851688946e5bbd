"""Batches made ahead of their step by threads, in order, as if they were made in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import torch

from mass3d.device import one_thread
from mass3d.execution.processes import ALONE, Processes

Batch = TypeVar("Batch")

MAX_MAKERS: Final = 8  # beyond, they wait for each other's Python


@contextmanager
def prefetched(
    make: Callable[[int], Batch], numbers: Iterable[int], *, ahead: int, makers: int = 1
) -> Iterator[Iterator[Batch]]:
    """`make(i)` of all `numbers`, at most `ahead` of them before they are asked for.

    `makers` threads make a batch each at the same time. An error of `make`, or of `numbers`, is
    raised where its batch would have come. Leaving the block ends the threads once they have made
    the batches that they are at. With `ahead` 0 there is no thread.

    Each batch is made on one core: sums in several come out otherwise in the last bit, and so a
    batch would depend on the number of makers.
    """
    if ahead == 0:
        yield map(partial(_on_one_core, make), numbers)
        return
    one_core = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(makers, "prefetch", initializer=one_core) as pool:
        waiting = _Waiting(pool, make, iter(numbers), ahead)
        try:
            yield waiting
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_one_core(make: Callable[[int], Batch], number: int) -> Batch:
    with one_thread():
        return make(number)


class _Waiting(Iterator[Batch]):
    """The batches that are being made, in their order."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        make: Callable[[int], Batch],
        numbers: Iterator[int],
        ahead: int,
    ) -> None:
        self._pool, self._make, self._numbers = pool, make, numbers
        self._futures: deque[Future[Batch]] = deque()
        for _ in range(ahead):
            self._begin_next()

    def __next__(self) -> Batch:
        if not self._futures:
            raise StopIteration
        batch = self._futures.popleft().result()
        self._begin_next()
        return batch

    def _begin_next(self) -> None:
        try:
            self._futures.append(self._pool.submit(self._make, next(self._numbers)))
        except StopIteration:
            return
        except BaseException as error:  # raised where its batch would have come
            failed: Future[Batch] = Future()
            failed.set_exception(error)
            self._futures.append(failed)


def makers_for(device: torch.device, processes: Processes = ALONE) -> int:
    """How many threads make batches for this one of the processes.

    On a CPU the step itself needs the cores, so that one is enough. A GPU waits: with one thread an
    H200 took 9 samples/s of `tiny`, as many as the thread could draw.
    """
    if device.type == "cpu":
        return 1
    return min(MAX_MAKERS, processes.cores())
