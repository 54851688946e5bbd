"""Batches made ahead: the same as those made in turn, and no thread left behind."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mass3d.execution.processes import Processes
from mass3d.training.prefetch import makers_for, prefetched


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("prefetch")]


@pytest.mark.parametrize(("ahead", "makers"), [(0, 1), (1, 1), (3, 1), (3, 3), (50, 8)])
def test_batches_come_in_turn(ahead: int, makers: int) -> None:
    numbers = [7, 3, 3, 11, 0, 5, 2]

    def make(number: int) -> int:
        time.sleep(number / 1000)  # the later ones of several threads are often ready first
        return number**2

    with prefetched(make, numbers, ahead=ahead, makers=makers) as batches:
        assert list(batches) == [49, 9, 9, 121, 0, 25, 4]
    assert not threads()


@pytest.mark.parametrize(("ahead", "makers"), [(0, 1), (3, 1), (3, 3)])
def test_a_batch_is_made_on_one_core_whoever_makes_it(ahead: int, makers: int) -> None:
    cores = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = prefetched(lambda _: torch.get_num_threads(), range(6), ahead=ahead, makers=makers)
        with found as batches:
            assert list(batches) == [1] * 6
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(cores)


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_are_made_than_asked(ahead: int) -> None:
    made: list[int] = []
    enough = threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if len(made) == ahead:
            enough.set()
        return number

    with prefetched(make, itertools.count(), ahead=ahead) as batches:
        assert next(batches) == 0
        assert enough.wait(timeout=60)
        for expected in range(1, 6):
            assert next(batches) == expected
            # those that were taken, those ahead, and the one that is being worked on
            assert len(made) <= expected + 1 + ahead
    assert not threads()


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_an_error_comes_where_its_batch_would_have(ahead: int) -> None:
    def make(number: int) -> int:
        if number == 4:
            raise ZeroDivisionError("the fifth")
        return number

    with prefetched(make, range(10), ahead=ahead) as batches:
        assert [next(batches) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(ZeroDivisionError, match="the fifth"):
            next(batches)
    assert not threads()


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_of_the_numbers_is_no_endless_wait(ahead: int) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with prefetched(lambda number: number, numbers(), ahead=ahead) as batches:
        assert next(batches) == 1
        with pytest.raises(LookupError, match="no more"):
            next(batches)
    assert not threads()


def test_an_error_of_who_takes_them_ends_the_thread() -> None:
    with (  # noqa: PT012
        pytest.raises(KeyError),
        prefetched(lambda number: number, itertools.count(), ahead=2) as batches,
    ):
        next(batches)
        raise KeyError
    assert not threads()


def test_several_makers_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=60)

    def make(number: int) -> int:
        together.wait()  # of three threads, or never
        return number

    with prefetched(make, range(6), ahead=3, makers=3) as batches:
        assert list(batches) == list(range(6))


def test_a_gpu_gets_several_makers_and_a_cpu_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12))
    assert makers_for(torch.device("cpu")) == 1
    here = [makers_for(torch.device("cuda"), Processes(0, n)) for n in (1, 2, 4, 64)]
    assert here == [8, 6, 3, 1]
    assert makers_for(torch.device("cuda"), Processes(0, 64, machines=16)) == 3


def test_leaving_at_once_ends_the_thread() -> None:
    with prefetched(lambda number: number, itertools.count(), ahead=2):
        pass
    assert not threads()
