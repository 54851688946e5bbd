from __future__ import annotations

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


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", *TORCHRUN, *SRUN):
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
    for name, value in zip(TORCHRUN, ("5", "8", "4"), strict=True):
        monkeypatch.setenv(name, value)
    found = started_processes()
    assert found == Processes(rank=5, total=8, machines=2)
    assert not found.first
    assert found.per_machine == 4


def test_srun_tells_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "16")  # a batch script has this without being one of them
    assert started_processes() == ALONE
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    assert started_processes() == Processes(rank=0, total=16, machines=2)


def test_unequal_shares_of_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(SRUN, ("0", "5", "2"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="5 processes, not as many on each machine"):
        started_processes()


def test_what_is_for_one_process_says_who_started_more(monkeypatch: pytest.MonkeyPatch) -> None:
    require_alone("finetune")
    for name, value in zip(SRUN, ("0", "1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    require_alone("finetune")  # of one task
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ConfigError, match="mass3d finetune: found 2 processes that srun started"):
        require_alone("finetune")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in zip(TORCHRUN, ("1", "4", "4"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="found 4 processes that torchrun started") as refused:
        require_alone("finetune")
    assert "Start finetune without torchrun." in str(refused.value)
