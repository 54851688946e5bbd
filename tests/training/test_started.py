"""What Fabric is told of processes that torchrun or srun started."""

from __future__ import annotations

import pytest
import torch

from mass3d.errors import ConfigError
from mass3d.execution.processes import Processes
from mass3d.training.started import Started, own_device

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"):
        monkeypatch.delenv(name, raising=False)


def test_processes_meet_at_the_first_machine_of_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = Started(Processes(3, 4, 2, 1))
    assert apart.main_address == "127.0.0.1"
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07-09]")
    assert apart.main_address == "gpu07"
    monkeypatch.setenv("SLURM_STEP_NODELIST", "gpu[08,09]")
    assert apart.main_address == "gpu08"
    assert Started(Processes(1, 2, 1, 1)).main_address == "127.0.0.1"  # whatever its name is
    monkeypatch.setenv("MASTER_ADDR", "node1")
    assert apart.main_address == "node1"


def test_steps_and_jobs_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = set()
    for job, step in ((4711, 0), (4711, 1), (4712, 0), (4712, 1), (4711, 4294967290)):
        monkeypatch.setenv("SLURM_JOB_ID", str(job))
        monkeypatch.setenv("SLURM_STEP_ID", str(step))
        ports.add(Started(Processes(0, 2)).main_port)
    assert len(ports) == 5
    assert all(15000 <= port < 25000 for port in ports)
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert Started(Processes(0, 2)).main_port == 29500


def test_ranks_are_those_of_the_starter_however_they_are_dealt_out() -> None:
    in_turn = Started(Processes(rank=2, total=4, machines=2, local=1))  # srun -m cyclic
    in_turn.set_global_rank(1)
    in_turn.set_world_size(9)
    assert (in_turn.global_rank(), in_turn.local_rank(), in_turn.world_size()) == (2, 1, 4)
    assert in_turn.creates_processes_externally
    assert not Started.detect()


def test_each_process_takes_the_gpu_of_its_place_or_the_only_one_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    third = Processes(rank=6, total=8, machines=2, local=2)
    assert own_device(torch.device("cpu"), third) == torch.device("cpu")
    for seen, index in ((8, 2), (4, 2), (1, 0)):  # one: srun --gpus-per-task=1
        monkeypatch.setattr(torch.cuda, "device_count", lambda seen=seen: seen)
        assert own_device(CUDA, third) == torch.device("cuda", index)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(ConfigError, match="found 3 GPUs for 4 processes of a machine") as refused:
        own_device(CUDA, third)
    assert refused.value.setting == "device"
