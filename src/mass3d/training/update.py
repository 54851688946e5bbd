"""One step of the optimiser, on one or more batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, cast

from torch import Tensor

from mass3d.errors import ModelError
from mass3d.model.protocol import Extended
from mass3d.training.fabric import average_gradients, largest_of_processes, of_all_batches
from mass3d.training.job import FitState, Job
from mass3d.training.optimizers import set_rate
from mass3d.training.resume import save_run
from mass3d.training.schedule import SCHEDULES
from mass3d.training.sharding import clip_gradients
from mass3d.training.step import Batch, StepOutcome, take_step


def update(job: Job[Batch], state: FitState, batches: Iterator[tuple[int, Batch]]) -> None:
    """Take the step with the next of the numbered batches.

    Raises `ModelError` when loss or gradient are not finite; on a CPU before they reach the
    weights, elsewhere at the next row of the log, as asking at every step would stall a GPU.
    """
    config, fabric = job.config, state.fabric
    rate = config.lr * SCHEDULES[config.schedule]((state.step + 1) / (config.steps + 1))
    set_rate(state.optimizer, rate)
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
    state.optimizer.step()
    state.optimizer.zero_grad()
    _remember(state, [outcome.kept for outcome in outcomes])
    state.ema.update(state.model, state.step)
    state.step += 1


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


def require_finite(job: Job[Any], state: FitState) -> None:
    """Raise `ModelError` on the first logged step that is not finite.

    Processes do so together, as they save together.
    """
    entry, fabric = state.log.first_not_finite(), state.fabric
    if fabric.world_size > 1 and largest_of_processes(fabric, [entry is not None])[0]:
        entry = entry or state.log.entries[-1]
    if entry is not None:
        loss, norm = (float(entry.figures[key]) for key in ("loss", "grad_norm"))
        found = f"a loss of {loss:.3g} (gradient norm {norm:.3g}) at step {entry.step}"
        state.log.entries.remove(entry)
        refuse(job, state, found, entry.case_ids)


def refuse(job: Job[Any], state: FitState, found: str, case_ids: Sequence[str] = ()) -> NoReturn:
    """Save the run if it is still good, and raise `ModelError`."""
    if state.step and state.is_finite():
        save_run(job, state)
    cases = ", ".join(sorted(set(case_ids)))
    raise ModelError(
        job.run,
        found=found,
        expected="finite numbers",
        fix=f"{f'Look at the cases {cases}; or l' if cases else 'L'}ower fit.lr. "
        "What was saved before is intact.",
        setting="fit.lr",
    )
