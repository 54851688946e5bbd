"""What is told and shown of a pretraining run while it goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mass3d.execution.progress import Advance
from mass3d.pages.step import step_page
from mass3d.pretext.task import Batches, PretextTask
from mass3d.training.step import Hook, Progress


def watching(
    run: Path, task: PretextTask, batches: Batches, device: torch.device, advance: Advance
) -> tuple[Hook, ...]:
    """Tell how the run goes, and after its last step show what that saw."""

    def told(_: nn.Module, now: Progress) -> None:
        figures = f"loss {now.figures['loss']:.3f}  {task.figure} {now.figures[task.figure]:.3f}"
        advance(now.step, f"{figures}  {now.samples_per_s:.1f} samples/s")

    show = task.show
    return (told, step_page(run, lambda: show(batches(0, device)))) if show else (told,)
