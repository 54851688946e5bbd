"""What is told and shown of a pretraining run while it goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mass3d.execution.progress import Advance
from mass3d.pages.step import step_page
from mass3d.pretext.task import Batches, PretextTask
from mass3d.training.step import Hook, Progress
from mass3d.transfer.validation.course import Course


def watching(
    run: Path,
    task: PretextTask,
    batches: Batches,
    device: torch.device,
    advance: Advance,
    *,
    course: Course | None,
) -> tuple[Hook, ...]:
    """Validate and tell how the run goes, and after its last step show what that saw."""

    def told(_: nn.Module, now: Progress) -> None:
        figures = f"loss {now.figures['loss']:.3f}  {task.figure} {now.figures[task.figure]:.3f}"
        parts = [figures, f"{now.samples_per_s:.1f} samples/s", course.in_words() if course else ""]
        advance(now.step, "  ".join(filter(None, parts)))

    show = task.show
    pages = [step_page(run, lambda: show(batches(0, device)))] if show else []
    return (*([course] if course else []), told, *pages)
