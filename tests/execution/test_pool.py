from __future__ import annotations

import os

import pytest

from mass3d.errors import ConfigError
from mass3d.execution import cluster
from mass3d.execution.cluster import plan_workers
from mass3d.execution.faults import Fault
from mass3d.execution.free import available_bytes
from mass3d.execution.pool import run_cases
from pool_jobs import MIB, dask_tells_errors, work

SMALL, LARGE, TOO_LARGE = 100, 300, 900  # MiB


def run(jobs: list[int], *, workers: int | None, scheduler: str | None = None) -> dict[str, object]:
    return dict(
        run_cases(
            work,
            {str(job): job for job in jobs},
            workers=workers,
            title="test",
            bytes_each=1e6,
            scheduler=scheduler,
        )
    )


def test_a_case_that_kills_its_worker_or_has_too_little_memory_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "available_bytes", lambda: 700 * MIB)  # for two workers
    jobs = [0, TOO_LARGE, 1, LARGE, 2, 3, SMALL, 4, 5]
    found = run(jobs, workers=2)
    assert list(found) == [str(job) for job in jobs]
    assert [found[str(job)] for job in (0, 1, 5, SMALL, LARGE)] == [0, 10, 50, 1000, 3000]
    for job in (2, TOO_LARGE):
        fault = found[str(job)]
        assert isinstance(fault, Fault)
        assert "died every time" in fault.message
    assert found["3"] == Fault("3", "file: found x; expected y. z")
    assert found["4"] == Fault("4", "unexpected ZeroDivisionError: of ours")
    told = capfd.readouterr().err.splitlines()
    assert told[0] == "2 workers: as asked"
    done = [line.partition("  ")[0] for line in told[1:]]
    assert done == [f"test {number}/9" for number in range(1, 10)]  # and no word of dask


def test_dask_is_silent_in_its_processes() -> None:
    # `silence_logs` ends before a process does, whose last words would then be told now and then
    assert run_cases(dask_tells_errors, {"a": 0}, workers=2, title="test") == {"a": False}


def test_processes_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # which dask sets for its own
    before = dict(os.environ)
    assert run([0], workers=2) == {"0": 0}
    assert dict(os.environ) == before


def test_one_worker_is_this_process() -> None:
    found = run([0, 3, 4], workers=1)
    assert found["0"] == 0
    assert all(isinstance(found[name], Fault) for name in "34")


def test_no_case_is_no_work() -> None:
    assert run([], workers=None) == {}


def test_there_are_never_more_workers_than_cases_cores_or_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "available_bytes", lambda: 14 << 30)
    monkeypatch.setattr(cluster, "cpu_count", lambda: 8)

    def told(cases: int, gib: float, asked: int | None = None) -> str:
        return str(plan_workers(cases, asked=asked, bytes_each=gib * 2**30))

    assert told(100, 1.0) == "8 workers: as many as cores"
    assert told(100, 4.1) == "3 workers: memory for 4.1 GiB each, of 14.0 GiB free"
    assert told(100, 20.0) == "1 worker: memory for 20.0 GiB each, of 14.0 GiB free"
    assert told(2, 1.0) == "2 workers: one for each case"
    assert told(100, 20.0, asked=5) == "5 workers: as asked"
    assert told(2, 1.0, asked=16) == "2 workers: one for each case"


def test_free_memory_is_some_of_the_memory() -> None:
    assert 0 < available_bytes() < 2**50


def test_workers_here_and_a_scheduler_cannot_both_be_had() -> None:
    with pytest.raises(ConfigError, match="one of the two"):
        run([0], workers=2, scheduler="tcp://node1:8786")
