from __future__ import annotations

import os

import pytest

from mass3d.errors import ConfigError
from mass3d.execution.processes import (
    ALONE,
    SRUN,
    TORCHRUN,
    Processes,
    require_alone,
    started_processes,
)

TELLING = ("TORCHELASTIC_RUN_ID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_CPUS_ON_NODE")


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TELLING, *TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)


def test_a_process_is_alone_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started_processes() == ALONE
    assert ALONE.first
    assert (ALONE.total, ALONE.per_machine) == (1, 1)
    monkeypatch.setenv("RANK", "3")  # of something else than torchrun
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert started_processes() == ALONE


def test_torchrun_tells_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in zip(TORCHRUN, ("5", "8", "4", "1"), strict=True):
        monkeypatch.setenv(name, value)
    found = started_processes()
    assert found == Processes(rank=5, total=8, machines=2, local=1)
    assert not found.first
    assert found.per_machine == 4


def test_srun_tells_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "16")  # a batch script has this without being one of them
    assert started_processes() == ALONE
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    assert started_processes() == Processes(rank=0, total=16, machines=2)


def test_unequal_shares_of_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for total, machines in (("5", "2(x2)"), ("4", "3,1")):
        for name, value in zip(SRUN, ("0", total, "2", "0"), strict=True):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", machines)
        with pytest.raises(ConfigError, match=f"{total} processes, not as many on each machine"):
            started_processes()
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2)")
    assert started_processes().per_machine == 2


def test_cores_are_shared_by_the_processes_of_a_machine_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12))
    assert ALONE.cores() == 12
    assert [Processes(0, total).cores() for total in (2, 4, 64)] == [6, 3, 1]
    assert Processes(0, 64, machines=16).cores() == 3  # of four here
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "48")
    assert Processes(0, 64, machines=16).cores() == 12  # which srun gave to each of the four
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "12")
    assert Processes(0, 64, machines=16).cores() == 3  # given to all of them
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "48")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert Processes(0, 64, machines=16).cores() == 3  # of what was given to torchrun


def test_what_is_for_one_process_says_who_started_more(monkeypatch: pytest.MonkeyPatch) -> None:
    require_alone("finetune")
    for name, value in zip(SRUN, ("0", "1", "1", "0"), strict=True):
        monkeypatch.setenv(name, value)
    require_alone("finetune")  # of one task
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ConfigError, match="mass3d finetune: found 2 processes that srun started"):
        require_alone("finetune")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in zip(TORCHRUN, ("1", "4", "4", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="found 4 processes that torchrun started") as refused:
        require_alone("finetune")
    assert "Start finetune without torchrun." in str(refused.value)
