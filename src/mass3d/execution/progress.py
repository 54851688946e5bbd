"""How long work takes, for people: a bar with the time left, or plain lines where no one looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mass3d.training import fit

LINES = 20  # rows a whole run leaves in a log file


@contextmanager
def training_progress(steps: int) -> Iterator[fit.Hook]:
    """A hook for `fit` that shows loss, Dice, samples per second and the time left."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        every = max(1, steps // LINES)
        last = [-every]

        def line(now: fit.Progress) -> None:
            if now.step - last[0] >= every or now.step == now.steps:
                last[0] = now.step
                console.print(f"step {now.step}/{now.steps}  {_figures(now)}", highlight=False)

        yield line
        return
    with Progress(
        TextColumn("pretrain"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("pretrain", total=steps, figures="")
        yield lambda now: bar.update(task, completed=now.step, figures=_figures(now))


def _figures(now: fit.Progress) -> str:
    return (
        f"loss {now.figures['loss']:.3f}  dice {now.figures['dice']:.3f}  "
        f"{now.samples_per_s:.1f} samples/s"
    )
