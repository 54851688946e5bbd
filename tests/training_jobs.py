"""A run for several processes, each of which runs this file."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from mass3d.errors import Mass3dError
from mass3d.execution.processes import started_processes
from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit

CONFIG = FitConfig(
    steps=7, lr=0.03, batch_size=12, log_every=3, save_every=2, precision="32-true", prefetch=1
)
FACTS = {"of": "two"}


def network() -> nn.Module:
    torch.manual_seed(8)
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2))


def batches(number: int, device: torch.device) -> tuple[Tensor, int]:
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(40 + number))
    return x.to(device), number


def step(model: nn.Module, batch: tuple[Tensor, int], context: StepContext) -> StepOutcome:
    x, number = batch
    target = torch.stack([x.sum(1), x.prod(1)], dim=1)
    loss = (model(x) - target).square().mean()
    return StepOutcome(loss, {"number": torch.tensor(float(number))}, (f"case_{number}",))


def main(run: Path, dies: int) -> None:
    """What each of the processes does; `dies` is the batch at which its process is killed."""

    def dangerous(number: int, device: torch.device) -> tuple[Tensor, int]:
        if number == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(number, device)

    torch.set_num_threads(1)
    processes = started_processes()
    try:
        fit(network(), dangerous, step, CONFIG, run=run, facts=FACTS, processes=processes)
    except Mass3dError as error:
        sys.stderr.write(f"{processes.rank}: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
