from __future__ import annotations

import os

from mass3d.apps.outcome import Fault
from mass3d.apps.pool import available_bytes, run_cases, worker_count
from pool_jobs import work


def run(jobs: list[int], workers: int | None) -> dict[str, int | Fault]:
    return run_cases(
        work, {str(job): job for job in jobs}, workers=workers, title="test", bytes_each=1e6
    )


def test_a_killed_worker_costs_its_own_case_only() -> None:
    found = run([0, 1, 2, 3, 4, 5, 6], workers=2)
    assert list(found) == ["0", "1", "2", "3", "4", "5", "6"]
    assert [found[name] for name in "0156"] == [0, 10, 50, 60]
    died, refused, broken = (found[name] for name in "234")
    assert isinstance(died, Fault)
    assert "died" in died.message
    assert isinstance(refused, Fault)
    assert refused.message == "file: found x; expected y. z"
    assert isinstance(broken, Fault)
    assert broken.message == "unexpected ZeroDivisionError: of ours"


def test_one_worker_is_this_process() -> None:
    found = run([0, 3, 4], workers=1)
    assert found["0"] == 0
    assert all(isinstance(found[name], Fault) for name in "34")


def test_there_are_never_more_workers_than_jobs_or_memory() -> None:
    assert worker_count(1, bytes_each=1) == 1
    assert worker_count(10**6, bytes_each=available_bytes() * 2.0) == 1
    assert 1 <= worker_count(10**6, bytes_each=1) <= (os.cpu_count() or 1)
