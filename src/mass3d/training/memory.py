"""How much memory steps take, and what is said when one does not fit."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.execution.faults import first_line, is_lack_of_memory
from mass3d.execution.free import GIB, available_bytes
from mass3d.training.sharding import local

REMEMBERED: Final = {"AdamW": 2, "Lamb": 2, "Muon": 1}  # numbers of an optimiser for each weight


class StepSize(NamedTuple):
    """What decides the memory of a step."""

    batch_size: int
    batches: int  # per step, of all processes
    crop_vox: Sequence[int]  # empty where it is not known

    def remedy(self) -> tuple[str, str]:
        """What to do, and the setting to be changed first."""
        crop = f" (now {list(self.crop_vox)})" if self.crop_vox else ""
        smaller = f"take smaller crops with views.crop_vox{crop}, or fewer masks"
        if self.batch_size == 1:
            return f"{smaller[0].upper()}{smaller[1:]}.", "views.crop_vox"
        half = self.batch_size // 2
        times = -(-self.batch_size // half) * self.batches
        return (
            f"Set fit.batch_size to {half} (now {self.batch_size}) and fit.accumulate to {times}: "
            f"more batches whose gradients are averaged make up for it. Where that is too much as "
            f"well, {smaller}.",
            "fit.batch_size",
        )


@contextmanager
def lack_of_memory_told(run: Path, size: StepSize) -> Iterator[None]:
    """Turn a lack of memory, of the machine or of its GPU, into a `ConfigError` with what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        fix, setting = size.remedy()
        raise ConfigError(
            run,
            found=f"not enough memory for a step ({first_line(error)})",
            expected="crops, masks and batches that fit",
            fix=fix,
            setting=setting,
        ) from error


def shares_in_words(model: nn.Module, optimizer: torch.optim.Optimizer, *, processes: int) -> str:
    """What each of some processes keeps of a sharded model, and what of it comes together."""
    kept = REMEMBERED[type(optimizer).__name__]  # beside weight, gradient and average
    counts = [(p.numel(), local(p).numel()) for p in model.parameters()]
    every, mine = (sum(numbers) * 4 * (3 + kept) / GIB for numbers in zip(*counts, strict=True))
    return (
        f"Sharded: each of {processes} processes keeps {mine:.2f} GiB of the {every:.2f} GiB that "
        f"{sum(n for n, _ in counts) / 1e6:.1f} million weights, their gradients and averages and "
        "what the optimiser remembers take; what a layer needs comes beside it while it is used."
    )


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has taken so far: of its GPU, or of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))  # gpu
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_in_words(device: torch.device) -> str:
    """What was taken at the peak, and what is free now."""
    if device.type == "cuda":
        free, where = torch.cuda.mem_get_info(device)[0], "of the GPU"  # gpu
    else:
        free, where = available_bytes(), "of the machine"
    return (
        f"{peak_bytes(device) / GIB:.1f} GiB {where} at the peak so far, "
        f"{free / GIB:.1f} GiB are free"
    )
