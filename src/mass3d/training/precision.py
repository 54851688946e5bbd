"""A first try: are 16-bit numbers right for this network, batch and processor?

bfloat16 convolutions are twice as fast or more on some processors (`processor.py`). Some give
wrong weight gradients for certain shapes (torch 2.13 where the innermost axis has two voxels). So
the very step of the run is taken in both ways, and the gradients of kernels and matrices, which
hold all of the work, are compared one by one. How long it takes decides nothing: the same machine
chooses the same numbers however busy it is. Wrong gradients are made of what lay in memory before,
and differ from try to try: that tells them where luck hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.training.config import Precision
from mass3d.training.fabric import compute_in, largest_of_processes, make_fabric, wrap
from mass3d.training.job import Job
from mass3d.training.processor import (
    gpu_has_16_bits,
    is_faster_in_16_bits,
    must_imitate_16_bits,
)
from mass3d.training.step import StepOutcome, take_step

MAX_LOSS_ERROR = 0.05  # of the loss in 32 bits
MAX_ERROR = 0.2  # relative, of any kernel's gradient; usual is 0.02, of wrong ones 0.25 and more
MAX_TOTAL_ERROR = 0.2  # relative, of all gradients of kernels together
MAX_CHANGE = 0.01  # relative, of a kernel's gradient from one try to the next; wrong ones vary
TRIES = 3

Run = Callable[[nn.Module], StepOutcome]
"""The step of the run on its first batch."""


class Trial(NamedTuple):
    """One way of taking the step."""

    loss: float
    gradients: dict[str, Tensor]  # of kernels and matrices
    change: float = 0.0  # largest error of a gradient in one try beside another


class Comparison(NamedTuple):
    """bfloat16 beside float32."""

    loss_error: float  # relative
    worst_error: float  # of one kernel's gradient, relative to the larger of it and a floor
    total_error: float  # of all gradients
    change: float  # of one kernel's gradient in 16 bits, from one try to another

    @property
    def passes(self) -> bool:
        """Whether 16 bits are right enough; NaN never is."""
        return (
            self.loss_error <= MAX_LOSS_ERROR
            and self.worst_error <= MAX_ERROR
            and self.total_error <= MAX_TOTAL_ERROR
            and self.change <= MAX_CHANGE
        )


def settled_precision(job: Job[Any], model: nn.Module, fabric: Fabric) -> Precision:
    """What the settings say; for `auto`, what a first try on the first batch says.

    Every process tries it by itself; 16 bits must be right on the processors of all.
    """
    device = fabric.device
    if job.config.precision != "auto":
        return job.config.precision
    first = cache(lambda: job.batches(0, device))  # drawn where there is something to try
    chosen = choose_precision(
        model,
        lambda wrapped: take_step(
            job.step, wrapped, first(), averaged=model, done=0, seed=job.seed, number=0
        ),
        device,
    )
    refused = largest_of_processes(fabric, [chosen == "32-true"])[0]
    return "32-true" if refused else chosen


def choose_precision(model: nn.Module, run: Run, device: torch.device) -> Precision:
    """The precision that `auto` means for this model and step on a device."""
    if device.type == "cuda":
        return "bf16-mixed" if gpu_has_16_bits() else "32-true"
    if device.type != "cpu" or not is_faster_in_16_bits():
        return "32-true"
    found = compare(
        try_step(model, run, device, "32-true"), try_step(model, run, device, "bf16-mixed")
    )
    return "bf16-mixed" if found.passes else "32-true"


def require_usable(precision: Precision, device: torch.device, run: Path) -> None:
    """Raise `ConfigError` for 16 bits on an x86 CPU, or a GPU, that must imitate them.

    Steps take hours on such a CPU. `run`: the folder of the run, which may have begun on another
    machine.
    """
    if precision == "32-true":
        return
    if device.type == "cpu" and must_imitate_16_bits():
        found = "a processor without instructions for bfloat16 (AVX512-BF16)"
    elif device.type == "cuda" and not gpu_has_16_bits():
        found = f"a GPU without instructions for bfloat16 ({torch.cuda.get_device_name(device)})"
    else:
        return
    raise ConfigError(
        run,
        found=found,
        expected=f"one that has them, for the precision {precision}",
        fix="Continue a bfloat16 run where it began; start a new one with 32-true or auto.",
        setting="fit.precision",
    )


def try_step(model: nn.Module, run: Run, device: torch.device, precision: Precision) -> Trial:
    """Take the step and keep its gradients; the model is left as it was."""
    fabric = make_fabric(device)
    compute_in(fabric, precision)
    wrapped = wrap(fabric, model)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    tries = list[dict[str, Tensor]]()
    for _ in range(TRIES):
        model.zero_grad()
        outcome = run(wrapped)
        fabric.backward(outcome.loss)
        tries.append(_gradients(model))
    model.zero_grad()
    for buffer, before in buffers:
        buffer.copy_(before)
    *others, last = tries
    change = torch.tensor([_worst_error(last, other) for other in others]).max()  # NaN stays NaN
    return Trial(float(outcome.loss.detach()), last, float(change))


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of kernels and matrices."""
    return {
        name: parameter.grad.float().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.ndim > 1
    }


def compare(full: Trial, half: Trial) -> Comparison:
    """How a trial in 16 bits differs from the one in 32 bits."""
    pairs = [(half.gradients[name], gradient) for name, gradient in full.gradients.items()]
    errors = sum(float((mine - gradient).norm()) ** 2 for mine, gradient in pairs) ** 0.5
    total = sum(float(gradient.norm()) ** 2 for _, gradient in pairs) ** 0.5
    return Comparison(
        loss_error=abs(half.loss - full.loss) / max(abs(full.loss), 1e-12),
        worst_error=_worst_error(full.gradients, half.gradients),
        total_error=errors / max(total, 1e-12),
        change=half.change,
    )


def _worst_error(full: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Of any gradient, relative to the larger of it and a floor; NaN where one is none.

    Kernels that hardly move are all rounding: what counts is their share in the update.
    """
    norms = {name: float(gradient.norm()) for name, gradient in full.items()}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    floor = max(total / max(1, len(norms)) ** 0.5 / 100, 1e-12)
    each = [float((other[n] - one).norm()) / max(norms[n], floor) for n, one in full.items()]
    return float(torch.tensor([0.0, *each]).max())  # NaN stays NaN
