"""What Lightning Fabric is told of processes that torchrun or srun started.

Fabric would guess, by other variables than ours: it refuses `srun -n 2` without --ntasks-per-node,
and takes a job that is called `interactive` or `bash` for one process that starts the others.
"""

from __future__ import annotations

import os
from typing import Final

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from mass3d.errors import ConfigError
from mass3d.execution.processes import Processes

HERE: Final = "127.0.0.1"
FIRST_PORT, PORTS, APART = 15000, 10000, 1009  # of jobs, and from one step of a job to the next


class Started(ClusterEnvironment):
    """The processes as `started_processes` found them."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Fabric is not to start the others."""
        return True

    @property
    def main_address(self) -> str:
        """Where the first process is: torchrun tells it, SLURM tells the machines of a step."""
        if "MASTER_ADDR" in os.environ:
            return os.environ["MASTER_ADDR"]
        if self._processes.machines == 1:
            return HERE
        names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
        hosts = next((os.environ[name] for name in names if name in os.environ), HERE)
        return SLURMEnvironment.resolve_root_node_address(hosts)

    @property
    def main_port(self) -> int:
        """Where it listens; of SLURM, another for each step of each job."""
        if "MASTER_PORT" in os.environ:
            return int(os.environ["MASTER_PORT"])
        job, step = (int(os.environ.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
        return FIRST_PORT + (job + APART * step) % PORTS

    @staticmethod
    def detect() -> bool:
        """Fabric is given it and need not look."""
        return False

    def world_size(self) -> int:
        """Of all machines."""
        return self._processes.total

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Of this process among all."""
        return self._processes.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known; SLURM may deal ranks out to machines in turn, which Fabric would not say."""

    def local_rank(self) -> int:
        """Of this process on its machine."""
        return self._processes.local

    def node_rank(self) -> int:
        """Of its machine."""
        return self._processes.rank // self._processes.per_machine


def own_device(device: torch.device, processes: Processes) -> torch.device:
    """The device of this process: of `cuda`, the GPU of its place on the machine.

    SLURM may show each process its own GPU alone (--gpus-per-task), which is then its first. Raises
    `ConfigError` where a machine has too few.
    """
    if device.type != "cuda":
        return device
    seen = torch.cuda.device_count()
    if seen != 1 and seen < processes.per_machine:
        raise ConfigError(
            "setting 'device'",
            found=f"{seen} GPUs for {processes.per_machine} processes of a machine",
            expected="one for each process",
            fix="Start as many processes as there are GPUs, or ask for more of them.",
            setting="device",
        )
    return torch.device("cuda", processes.local if seen >= processes.per_machine else 0)
