"""One step of the optimiser, on one or more batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

from torch import Tensor

from mass3d.model.protocol import Extended
from mass3d.training.config import FitConfig
from mass3d.training.fabric import average_gradients, of_all_batches
from mass3d.training.finite import require_finite
from mass3d.training.job import FitState, Job
from mass3d.training.optimizers import set_rate
from mass3d.training.schedule import SCHEDULES
from mass3d.training.sharding import clip_gradients, drop_unless_finite
from mass3d.training.step import Batch, StepOutcome, take_step


def update(job: Job[Batch], state: FitState, batches: Iterator[tuple[int, Batch]]) -> None:
    """Take the step with the next of the numbered batches.

    Raises `ModelError` when loss or gradient are not finite; on a CPU at once, elsewhere at the
    next row of the log or save, as asking at every step would stall a GPU. The weights do not take
    them.
    """
    config, fabric = job.config, state.fabric
    set_rate(state.optimizer, rate_of(config, state.step + 1))
    parts = job.batches_per_step // fabric.world_size
    outcomes = [
        _backward(job, state, *next(batches), share=1 / parts, last=part == parts - 1)
        for part in range(parts)
    ]
    if state.sharded:
        average_gradients(fabric, state.model.parameters())
    norm = clip_gradients(state.model.parameters(), config.clip)
    state.log.add(state.step + 1, outcomes, norm)
    if fabric.device.type == "cpu":
        require_finite(job, state)
    else:
        drop_unless_finite(state.model.parameters(), norm)  # gpu
    state.optimizer.step()
    state.optimizer.zero_grad()
    _remember(state, [outcome.kept for outcome in outcomes])
    state.ema.update(state.model, state.step)
    state.step += 1


def rate_of(config: FitConfig, step: int) -> float:
    """The learning rate of a step; the first is 1."""
    return config.lr * SCHEDULES[config.schedule](step / (config.steps + 1))


def _remember(state: FitState, kept: Sequence[Mapping[str, Tensor]]) -> None:
    """Give the model what it is to keep of the batches of all processes, as if of one."""
    if kept[0]:
        every = {
            name: of_all_batches(state.fabric, [one[name] for one in kept]) for name in kept[0]
        }
        cast("Extended", state.model).remember(every)


def _backward(
    job: Job[Batch], state: FitState, number: int, batch: Batch, *, share: float, last: bool
) -> StepOutcome:
    """Loss and gradients of one batch; processes exchange gradients after the last one only.

    Those of a sharded model are exchanged after each, as nobody has room for the whole of them.
    """
    alone = last or state.fabric.world_size == 1 or state.sharded
    with nullcontext() if alone else state.fabric.no_backward_sync(state.wrapped):
        outcome = take_step(
            job.step,
            state.wrapped,
            batch,
            averaged=state.ema.model,
            done=state.step,
            seed=job.seed,
            number=number,
        )
        state.fabric.backward(outcome.loss * share)
    return outcome._replace(loss=outcome.loss.detach())
