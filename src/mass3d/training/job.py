"""What a run is made of: what was asked for, and what changes while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn

from mass3d.execution.processes import Processes
from mass3d.training.choosing import Choice, Judge
from mass3d.training.config import FitConfig, Precision
from mass3d.training.ema import Ema
from mass3d.training.fabric import largest_of_processes
from mass3d.training.log import StepLog
from mass3d.training.sharding import Blank, local
from mass3d.training.step import Batch, Hook, Step


@dataclass(frozen=True)
class Job(Generic[Batch]):
    """What was asked for."""

    batches: Callable[[int, torch.device], Batch]
    step: Step[Batch]
    config: FitConfig
    run: Path
    facts: Mapping[str, Any]
    seed: int
    hooks: tuple[Hook, ...]
    rates: Mapping[str, float]  # factors of the learning rate; see `make_optimizer`
    processes: Processes
    batches_per_step: int  # of all processes together
    judge: Judge | None = None  # of the weights on the way


@dataclass
class FitState:
    """What changes, and where it runs."""

    fabric: Fabric
    precision: Precision
    model: nn.Module
    wrapped: _FabricModule  # the model as Fabric runs it
    ema: Ema
    optimizer: torch.optim.Optimizer
    blank: Blank | None = None  # where the model is sharded
    step: int = 0
    row_due: bool = False  # of this step, which is in the log still
    log: StepLog = field(default_factory=StepLog)
    choice: Choice = field(default_factory=Choice)

    @property
    def sharded(self) -> bool:
        """Whether each process keeps its share of the model only."""
        return self.blank is not None

    def averaged(self) -> nn.Module:
        """The averaged model as a whole; every process must ask for it at the same time."""
        return self.ema.model if self.blank is None else self.blank.filled(self.ema.model)

    def is_finite(self) -> bool:
        """Whether all weights, and their averages, are finite numbers."""
        tensors = [*self.model.parameters(), *self.ema.model.parameters()]
        bad = not all(bool(local(tensor).isfinite().all()) for tensor in tensors)
        if self.sharded:  # each process knows of its share
            bad = bool(largest_of_processes(self.fabric, [bad])[0])
        return not bad
