"""The one training loop: dumb on purpose. What a step means is the caller's function."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from mass3d.config import Config
from mass3d.errors import ModelError
from mass3d.files import write_bytes, writing
from mass3d.training import checkpoint
from mass3d.training.ema import Ema
from mass3d.training.schedule import SCHEDULES, ScheduleName

Batch = TypeVar("Batch")

RESUME, WEIGHTS, METRICS = "resume.safetensors", "model.safetensors", "metrics.jsonl"


class FitConfig(Config):
    """Optimisation settings."""

    steps: int = Field(default=3000, ge=1)
    """Optimiser updates of the whole run; the schedule is stretched over them."""
    batch_size: int = Field(default=4, ge=1)
    """Pairs per step."""
    lr: float = Field(default=1.5e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW weight decay of matrices and kernels; norms and biases are not decayed."""
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    schedule: ScheduleName = "warmup_cosine"
    """How the learning rate goes over the run."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the average of the weights, which is what a run delivers."""
    log_every: int = Field(default=10, ge=1)
    """Steps per row of metrics.jsonl."""
    save_every: int = Field(default=200, ge=1)
    """Steps between resume states, rounded up to a multiple of `log_every`."""
    precision: Literal["32-true", "bf16-mixed", "auto"] = "auto"
    """`auto`: bf16 on a GPU that has it, 32 bits elsewhere."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; `auto` takes a GPU where there is one."""


class StepOutcome(NamedTuple):
    """What one step reports: the loss to minimise, figures for the log, cases for messages."""

    loss: Tensor
    figures: Mapping[str, Tensor]
    case_ids: tuple[str, ...]


class Progress(NamedTuple):
    """What a hook sees after every logged step."""

    step: int
    steps: int
    figures: Mapping[str, float]
    samples_per_s: float


Hook = Callable[[Progress], None]


@dataclass
class FitState:
    """All that changes while a run goes on, and the device it runs on."""

    fabric: Fabric
    model: nn.Module
    wrapped: nn.Module  # the model as Fabric runs it
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int = 0
    pending: list[tuple[int, StepOutcome, Tensor]] = field(default_factory=list)


def make_fabric(config: FitConfig) -> Fabric:
    """A single-process Fabric with the precision that suits the device."""
    precision = config.precision
    if precision == "auto":
        on_gpu = config.accelerator in ("auto", "cuda") and torch.cuda.is_available()
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    return Fabric(accelerator=config.accelerator, devices=1, precision=precision)


def fit(
    model: nn.Module,
    batches: Callable[[int, torch.device], Batch],
    step: Callable[[nn.Module, Batch], StepOutcome],
    config: FitConfig,
    *,
    run: Path,
    facts: Mapping[str, Any],
    hooks: tuple[Hook, ...] = (),
) -> nn.Module:
    """Train `model` to `config.steps` and return the averaged model.

    `batches(i, device)` must be a function of i alone: then a run that was killed goes on from
    its last resume state and ends, on CPU, with the same bytes. `facts` are written into every
    checkpoint; a resume state with other facts is refused. Raises `ModelError` on a non-finite
    loss, naming the cases of that step, and on a foreign resume state.
    """
    fabric = make_fabric(config)
    fabric.launch()
    # a tenth faster with oneDNN; torch's stubs do not know the argument
    model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    ema = Ema(fabric.to_device(model), decay=config.ema_decay)
    wrapped, optimizer = fabric.setup(model, make_optimizer(model, config))
    state = FitState(fabric, model, wrapped, ema, optimizer)
    run.mkdir(parents=True, exist_ok=True)
    if (run / RESUME).exists():
        _resume(state, run, facts)
    _cut_metrics(run / METRICS, state.step)
    save_every = -(-config.save_every // config.log_every) * config.log_every
    with _told_to_stop() as stopped:
        clock = time.perf_counter()
        while state.step < config.steps:
            batch = batches(state.step, fabric.device)
            _update(state, step(wrapped, batch), config)
            logged = state.step % config.log_every == 0 or state.step == config.steps
            if logged:
                seconds = time.perf_counter() - clock
                rate = len(state.pending) * config.batch_size / seconds
                _log(state, config, run / METRICS, hooks, samples_per_s=rate)
                clock = time.perf_counter()
            if state.step == config.steps:
                break
            if logged and (state.step % save_every == 0 or stopped()):
                _save_resume(state, run, facts)
                _save_weights(state, run, facts)
            if logged and stopped():
                raise SystemExit(
                    f"stopped at step {state.step}; the same command goes on from there"
                )
    _save_weights(state, run, facts)
    (run / RESUME).unlink(missing_ok=True)  # last of all: without it the run counts as finished
    return ema.model


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices and kernels only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), foreach=True)


def _update(state: FitState, outcome: StepOutcome, config: FitConfig) -> None:
    rate = config.lr * SCHEDULES[config.schedule]((state.step + 1) / (config.steps + 1))
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.fabric.backward(outcome.loss)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip, foreach=True)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.ema.update(state.model, state.step)
    state.step += 1
    # kept on the device: reading them here would stall a GPU at every step
    state.pending.append((state.step, outcome._replace(loss=outcome.loss.detach()), norm))


def _log(
    state: FitState, config: FitConfig, path: Path, hooks: tuple[Hook, ...], *, samples_per_s: float
) -> None:
    """Average the pending steps into one row; stop on the first that is not finite."""
    for number, outcome, norm in state.pending:
        if not bool(torch.isfinite(outcome.loss) & torch.isfinite(norm)):
            raise ModelError(
                path.parent,
                found=f"a loss of {outcome.loss.item():.3g} (gradient norm {norm.item():.3g}) "
                f"at step {number}",
                expected="finite numbers",
                fix=f"Look at the cases {', '.join(sorted(set(outcome.case_ids)))}; "
                "or lower fit.lr. The last resume state is intact.",
            )
    rows = [{"loss": o.loss, **o.figures, "grad_norm": norm} for _, o, norm in state.pending]
    figures = {
        key: torch.stack([row[key].float() for row in rows]).mean().item() for key in rows[0]
    }
    figures["lr"] = state.optimizer.param_groups[0]["lr"]
    with writing(path), path.open("a") as stream:
        stream.write(json.dumps({"step": state.step, **figures}) + "\n")
    state.pending.clear()
    for hook in hooks:
        hook(Progress(state.step, config.steps, figures, samples_per_s))


def _save_resume(state: FitState, run: Path, facts: Mapping[str, Any]) -> None:
    tensors = {f"model.{name}": t for name, t in state.model.state_dict().items()}
    tensors |= {f"ema.{name}": t for name, t in state.ema.model.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
    checkpoint.save(run / RESUME, tensors, kind="resume", facts={**facts, "step": state.step})


def _save_weights(state: FitState, run: Path, facts: Mapping[str, Any]) -> None:
    tensors = state.ema.model.state_dict()
    checkpoint.save(run / WEIGHTS, tensors, kind="weights", facts={**facts, "step": state.step})


def _resume(state: FitState, run: Path, facts: Mapping[str, Any]) -> None:
    tensors, found, _ = checkpoint.load(run / RESUME, kind="resume")
    state.step = found.pop("step")
    different = sorted(
        key for key in facts.keys() | found.keys() if facts.get(key) != found.get(key)
    )
    if different:
        raise ModelError(
            run,
            found=f"an unfinished run with another {', '.join(different)}",
            expected="the run that this command began",
            fix="Repeat its settings (run/config.toml) or choose another -o.",
        )
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        kind, _, key = name.partition(".")
        groups[kind][key] = tensor
    state.model.load_state_dict(groups["model"])
    state.ema.model.load_state_dict(groups["ema"])
    per_parameter: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        index, _, key = name.partition(".")
        per_parameter.setdefault(int(index), {})[key] = tensor
    current = state.optimizer.state_dict()
    state.optimizer.load_state_dict({**current, "state": per_parameter})


def _cut_metrics(path: Path, step: int) -> None:
    """Drop rows past the resume state: those steps are taken again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _row_step(line) <= step]
    write_bytes(path, "".join(line + "\n" for line in kept).encode())


def _row_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the half-written last line of a killed run


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM (a cluster's pre-emption) into a flag while the loop runs."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    try:
        previous = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread: signals are the caller's business
        yield lambda: False
        return
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, previous)
