"""Resume states: all that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from mass3d.config import Config, differences
from mass3d.errors import ConfigError, ModelError
from mass3d.execution.processes import Processes
from mass3d.model.protocol import network_of
from mass3d.training import checkpoint
from mass3d.training.choosing import Choice, Chosen, Scored
from mass3d.training.config import FitConfig, Precision
from mass3d.training.fate import same_fate
from mass3d.training.job import FitState, Job
from mass3d.training.optimizers import read_state, restore_state
from mass3d.training.run_files import RESUME, WEIGHTS
from mass3d.training.sharding import fill, together

CHOSEN: Final = "chosen"  # the fact of weights that a judge chose


class ResumeRecord(Config):
    """What a resume state says beside its tensors."""

    step: int
    """Updates done."""
    precision: Precision
    """Numbers that the run computes in."""
    batches_per_step: int = 1
    """Of all processes together."""
    optimizer: dict[str, Any]
    """Numbers that the optimiser remembers."""
    run: dict[str, Any]
    """What the caller of `fit` told about the run."""
    scored: tuple[Scored, ...] = ()
    """Updates and score of each scoring so far."""
    row_due: tuple[str, ...] = ()
    """Figures, in their order, of a row of the last of these updates that is yet to be written."""

    @property
    def told(self) -> int:
        """The update up to which rows are written and hooks were called."""
        return self.step - bool(self.row_due)


def read_record(run: Path) -> ResumeRecord | None:
    """The record of the resume state in a run folder; None where there is none."""
    path = run / RESUME
    if not path.exists():
        return None
    return checkpoint.validated(ResumeRecord, checkpoint.read_facts(path, kind="resume"), path)


def require_same_run(run: Path, facts: Mapping[str, Any]) -> None:
    """Raise `ConfigError` when the folder holds an unfinished run of other settings."""
    record = read_record(run)
    if record is not None:
        require_same(run, "an unfinished run", wanted=facts, found=record.run)


def batches_per_step(config: FitConfig, run: Path, processes: Processes) -> int:
    """What `accumulate` comes to: `auto` is what the run in the folder began with, if there is one.

    So a run of several processes goes on in fewer of them. Raises `ConfigError` when the processes
    cannot share the batches evenly.
    """
    wanted = config.accumulate
    if wanted == "auto":
        wanted = _batches_before(run) or processes.total
    if wanted % processes.total:
        raise ConfigError(
            run,
            found=f"{wanted} batches per step for {processes.total} processes",
            expected="as many of them for each process",
            fix=f"Start fewer processes, or set fit.accumulate to {processes.total} in a new run.",
            setting="fit.accumulate",
        )
    return wanted


def _batches_before(run: Path) -> int | None:
    """Batches per step of the run in a folder."""
    record = read_record(run)
    if record is not None:
        return record.batches_per_step
    if (run / WEIGHTS).exists():
        found = checkpoint.read_facts(run / WEIGHTS, kind="weights").get("fit", {})
        return int(found.get("accumulate", 1))
    return None


def is_finished(
    run: Path, facts: Mapping[str, Any], *, steps: int, must_resume: bool = False
) -> bool:
    """Whether exactly this run has ended; another finished run in the folder is a `ConfigError`.

    `must_resume`: nothing to go on with is a `ModelError`.
    """
    unfinished, delivered = (run / RESUME).exists(), (run / WEIGHTS).exists()
    if must_resume and not unfinished and not delivered:
        raise ModelError(
            run,
            found="no resume state",
            expected="a run that was interrupted",
            fix="Begin a run without asking to resume one.",
            setting="resume",
        )
    if unfinished or not delivered:
        return False
    found = checkpoint.read_facts(run / WEIGHTS, kind="weights")
    found.pop("precision", None)  # what `auto` came to
    if found.pop(CHOSEN, None):
        found["step"] = steps  # the judge took other weights than the last, or ended the run
    require_same(run, "a finished run", wanted={**facts, "step": steps}, found=found)
    return True


def require_same(
    run: Path, what: str, *, wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """Raise `ConfigError` that names each setting with both of its values, unless all are equal.

    What is known by its hash alone, such as the scans, is said to be another, without the numbers.
    """
    different = [
        f"other content of {name}"
        if _is_hash(ours) and _is_hash(theirs)
        else f"{name}: {theirs!r} there, {ours!r} wanted"
        for name, ours, theirs in differences(wanted, found)
    ]
    if different:
        raise ConfigError(
            run,
            found=f"{what} that differs ({'; '.join(different)})",
            expected="an empty folder, or the run that these settings make",
            fix="Repeat its settings, which are in config.toml there, or choose another folder.",
            setting="output",
        )


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def save_run(job: Job[Any], state: FitState) -> None:
    """Write the resume state and the weights as they are now; the first process does.

    All must call it at the same time, as `save_weights`: each comes back once all is written, or
    raises what the first was stopped by. Who ended before would have srun end the one that writes.
    """
    save_resume(job, state)
    save_weights(job, state)


def save_resume(job: Job[Any], state: FitState) -> None:
    """Write the resume state, whose tensors are whole however many processes share them."""
    remembered, numbers = read_state(state.optimizer)
    tensors = dict(_prefixed("model", state.model.state_dict()))
    tensors |= _prefixed("ema", state.ema.model.state_dict())
    tensors |= _prefixed("optimizer", remembered)
    tensors |= _prefixed("log", _mean_log(state))
    tensors |= _prefixed("best", state.choice.weights)
    tensors = together(tensors, kept=state.fabric.is_global_zero)
    record = ResumeRecord(
        step=state.step,
        precision=state.precision,
        batches_per_step=job.batches_per_step,
        optimizer=numbers,
        run=dict(job.facts),
        scored=tuple(state.choice.scored),
        row_due=tuple(state.log.tensors()) if state.row_due else (),
    )
    with same_fate(state.fabric, job.run):
        if state.fabric.is_global_zero:
            checkpoint.save(job.run / RESUME, tensors, kind="resume", facts=record.plain())


def _mean_log(state: FitState) -> dict[str, Tensor]:
    """The steps that are not in a row yet, each figure as the mean of all processes."""
    tensors = state.log.tensors()
    return {key: cast("Tensor", state.fabric.all_reduce(one)) for key, one in tensors.items()}


def save_weights(job: Job[Any], state: FitState) -> None:
    """Write the averaged weights of the network, or the best so far: what a run delivers."""
    facts = {**job.facts, "step": state.step, "precision": state.precision}
    first = state.fabric.is_global_zero
    weights = together(network_of(state.ema.model).state_dict(), kept=first)
    if state.choice.scored:
        weights, chosen = state.choice.weights, Chosen(scored=tuple(state.choice.scored))
        facts |= {"step": chosen.best[0], CHOSEN: chosen.plain()}
    with same_fate(state.fabric, job.run):
        if first:
            checkpoint.save(job.run / WEIGHTS, weights, kind="weights", facts=facts)


def restore(state: FitState, run: Path, record: ResumeRecord) -> None:
    """Bring back the state of an unfinished run. Raises `ModelError` where it is of another one."""
    tensors, _, _ = checkpoint.load(run / RESUME, kind="resume")
    try:
        _fill(state, tensors, record)
    except (KeyError, ValueError) as error:  # too little memory is a RuntimeError
        raise ModelError(
            run / RESUME,
            found="tensors of another network or optimiser",
            expected="those of this run",
            fix="Go on with the version of mass3d that began it, or begin anew in another folder.",
        ) from error


def _fill(state: FitState, tensors: Mapping[str, Tensor], record: ResumeRecord) -> None:
    kinds = ("model", "ema", "optimizer", "log", "best")
    groups: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
    for name, tensor in tensors.items():
        kind, _, key = name.partition(".")
        groups[kind][key] = tensor
    for model, kept in ((state.model, groups["model"]), (state.ema.model, groups["ema"])):
        if _shapes(model.state_dict()) != _shapes(kept):
            raise ValueError("tensors of another network")
        fill(model, kept)
    restore_state(state.optimizer, groups["optimizer"], record.optimizer)
    logged = groups["log"]
    on_device = {key: logged[key].to(state.fabric.device) for key in record.row_due or logged}
    state.log.restore(record.step, on_device)
    state.choice = Choice(list(record.scored), groups["best"])
    state.step, state.row_due = record.step, bool(record.row_due)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    return ((f"{prefix}.{name}", tensor) for name, tensor in tensors.items())
