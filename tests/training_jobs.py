"""A run for several processes: fresh processes can import this module, unlike a test's own."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit

CONFIG = FitConfig(
    steps=7, lr=0.03, batch_size=12, log_every=3, save_every=2, precision="32-true", prefetch=1
)


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


def train(fabric: Fabric, run: Path) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    fit(network(), batches, step, CONFIG, run=run, facts={"of": "two"}, fabric=fabric)
