"""What a step is given and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")
NOTHING: Final[Mapping[str, Tensor]] = MappingProxyType({})


class StepContext(NamedTuple):
    """What a step may know beside the model and its batch."""

    step: int  # updates done so far
    generator: torch.Generator  # on the CPU; a function of seed, step and part of the step
    averaged: nn.Module  # the average of the weights, in evaluation mode


class StepOutcome(NamedTuple):
    """What one step reports: the loss to minimise, figures for the log, cases for messages."""

    loss: Tensor
    figures: Mapping[str, Tensor]
    case_ids: tuple[str, ...]
    kept: Mapping[str, Tensor] = NOTHING  # (n, ...) of any batch; see `Extended.remember`


Step: TypeAlias = Callable[[nn.Module, Batch, StepContext], StepOutcome]


class Progress(NamedTuple):
    """What a hook is told after every logged step."""

    step: int
    steps: int
    figures: Mapping[str, float]
    samples_per_s: float
    wait_share: float = 0.0  # of the time since the last row, until batches were there
    steps_per_s: float = 0.0
    before: int = 0  # the step of the row before, wherever the run was interrupted


Hook: TypeAlias = Callable[[nn.Module, Progress], None]
"""Called with the averaged model, in evaluation mode."""


def take_step(
    step: Step[Batch],
    model: nn.Module,
    batch: Batch,
    *,
    averaged: nn.Module,
    done: int,
    seed: int,
    number: int,
) -> StepOutcome:
    """Call `step` on batch `number` of a run with generators that depend on seed and number alone.

    That holds for the global one too, which layers such as dropout draw from.
    """
    for_step, for_layers = np.random.SeedSequence((seed, 2, number)).generate_state(2, np.uint64)
    context = StepContext(done, torch.Generator().manual_seed(int(for_step >> 1)), averaged)
    # of the other GPUs nothing is drawn, and looking at each of them takes time and memory
    mine = {p.device for p in averaged.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(mine)):
        torch.manual_seed(int(for_layers >> 1))
        return step(model, batch, context)
