"""The one training loop: dumb on purpose. What a step means is the caller's function."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from torch import nn

from mass3d.errors import Interrupted
from mass3d.execution.processes import ALONE, Processes
from mass3d.execution.signals import StopSignal, stop_signals
from mass3d.training.agreement import same_record
from mass3d.training.begin import begin
from mass3d.training.choosing import Judge
from mass3d.training.config import FitConfig
from mass3d.training.fabric import (
    agreed,
    lost_process_told,
    make_fabric,
    mean_of_processes,
)
from mass3d.training.fate import same_fate
from mass3d.training.finite import refuse, require_finite
from mass3d.training.job import FitState, Job
from mass3d.training.log import append_row, cut_rows
from mass3d.training.memory import StepSize, lack_of_memory_told
from mass3d.training.optimizers import ALL_ALIKE
from mass3d.training.pace import Forecast, Pace
from mass3d.training.precision import require_usable, settled_precision
from mass3d.training.prefetch import makers_for, prefetched
from mass3d.training.resume import batches_per_step, restore, save_run, save_weights
from mass3d.training.run_files import METRICS, RESUME
from mass3d.training.step import Batch, Hook, Progress, Step, StepContext, StepOutcome
from mass3d.training.update import rate_of, update

__all__ = [
    "FitConfig",
    "Progress",
    "StepContext",
    "StepOutcome",
    "fit",
]


def fit(
    model: nn.Module,
    batches: Callable[[int, torch.device], Batch],
    step: Step[Batch],
    config: FitConfig,
    *,
    run: Path,
    facts: Mapping[str, Any],
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
    rates: Mapping[str, float] = ALL_ALIKE,
    probe: nn.Module | None = None,
    device: torch.device | None = None,
    processes: Processes = ALONE,
    fabric: Fabric | None = None,
    judge: Judge | None = None,
) -> nn.Module:
    """Train `model` to `config.steps` and return the averaged model.

    `batches(i, device)` must be a function of i alone: then a run that was killed goes on from its
    last resume state and ends, on CPU, with the same bytes. `facts` are written into every
    checkpoint; a resume state with other facts is refused. `device` is the CPU unless given.
    Several `processes`, each of which calls this, share the batches of every step and end with the
    weights of one that takes them all; `fabric` is theirs, where they have one. `rates` are factors
    of the learning rate, by the beginning of names of parameters. `probe` takes the place of the
    model in the first try of 16 bits, where first weights hide gradients. A `judge`, of one process
    alone, chooses which averaged weights are delivered, and may end the run early.

    Raises `ConfigError` on the resume state of another run, for 16 bits that the processor has not
    and for steps that do not fit into memory, `ModelError` on a loss or weights that are not
    finite, naming the cases of the step, when another process is gone and when not all see the
    same run, `Interrupted` when a signal asked for the end; what is good is saved first.
    """
    fabric = fabric or make_fabric(device or torch.device("cpu"), processes, config.sharding)
    record = same_record(fabric, run, facts)
    per_step = batches_per_step(config, run, processes)
    job = Job(batches, step, config, run, facts, seed, hooks, rates, processes, per_step, judge)
    # a tenth faster with oneDNN; torch's stubs do not know the argument
    model = model.to(fabric.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    size = StepSize(config.batch_size, per_step, facts.get("crop_vox", ()))
    with lack_of_memory_told(run, size), lost_process_told(run, processes):
        precision = record.precision if record else settled_precision(job, probe or model, fabric)
        require_usable(precision, fabric.device, run)
        state = begin(job, model, fabric, precision)
        if record is not None:
            restore(state, run, record)
        run.mkdir(parents=True, exist_ok=True)
        if fabric.is_global_zero:
            cut_rows(run / METRICS, record.told if record else 0)
        with stop_signals() as stop:
            _train(job, state, stop)
        if not state.is_finite():
            refuse(job, state, "weights that are not finite after the last update")
        save_weights(job, state)
        averaged = state.averaged()
        with same_fate(fabric, run):
            if fabric.is_global_zero:
                (run / RESUME).unlink(missing_ok=True)  # last: without it the run is finished
    state.choice.put_into(averaged)
    return averaged


def _train(job: Job[Batch], state: FitState, stop: StopSignal) -> None:
    """Take the steps that are left; log, save and stop between them."""
    config, fabric = job.config, state.fabric
    saved = time.monotonic()
    pace = Pace(state.step)
    forecast = Forecast(config, step=state.step, device=fabric.device)
    numbers = range(state.step * job.batches_per_step, config.steps * job.batches_per_step)
    mine = numbers[fabric.global_rank :: fabric.world_size]
    makers = config.makers
    if makers == "auto":
        makers = makers_for(fabric.device, job.processes)
    if state.row_due:  # the run was stopped before it
        _log(job, state, pace)
    with prefetched(
        lambda number: (number, job.batches(number, fabric.device)),
        mine,
        ahead=config.prefetch and max(config.prefetch, makers),
        makers=makers,
    ) as made:
        batches = pace.timed(made)
        while not _has_ended(job, state):
            update(job, state, batches)
            state.choice.consider(job.judge, state.ema.model, step=state.step, steps=config.steps)
            forecast(state.step, config.batch_size * job.batches_per_step)
            ended = _has_ended(job, state)
            state.row_due = ended or state.step % config.log_every == 0
            if state.row_due:
                # hooks may validate for minutes: who asks for the end does not wait for them
                number, worth = agreed(fabric, stop.number, not ended or bool(job.hooks))
                if number and worth:
                    _stop(job, state, number)
                _log(job, state, pace)
            late = time.monotonic() - saved > 60 * config.save_minutes
            due = state.step % config.save_every == 0 or late
            number, due = agreed(fabric, stop.number, due)
            if number and not ended:
                _stop(job, state, number)
            if due and not ended:
                _save(job, state)
                saved = time.monotonic()


def _has_ended(job: Job[Batch], state: FitState) -> bool:
    return state.step >= job.config.steps or state.choice.is_over(job.judge)


def _log(job: Job[Batch], state: FitState, pace: Pace) -> None:
    """Average the steps since the last row into one, and call the hooks."""
    require_finite(job, state)
    config, fabric = job.config, state.fabric
    figures = {key: mean_of_processes(fabric, value) for key, value in state.log.means().items()}
    figures["lr"] = rate_of(config, state.step)
    state.log.entries.clear()
    state.row_due = False
    averaged = state.averaged()
    if not fabric.is_global_zero:
        return
    append_row(job.run / METRICS, {"step": state.step, **figures})
    speed, waits = pace.steps_per_s(state.step), pace.wait_share()
    samples_per_s = speed * config.batch_size * job.batches_per_step
    before = (state.step - 1) // config.log_every * config.log_every
    now = Progress(state.step, config.steps, figures, samples_per_s, waits, speed, before)
    for hook in job.hooks:
        hook(averaged, now)
    pace.restart(state.step)


def _save(job: Job[Batch], state: FitState) -> None:
    require_finite(job, state)
    if not state.is_finite():
        refuse(job, state, f"weights that are not finite after step {state.step}")
    save_run(job, state)


def _stop(job: Job[Batch], state: FitState, number: int) -> NoReturn:
    _save(job, state)
    raise Interrupted(
        job.run,
        found=f"{signal.Signals(number).name} after step {state.step}",
        expected=f"the end of {job.config.steps} steps",
        fix="All is saved: the same command goes on from there.",
        number=number,
    )
