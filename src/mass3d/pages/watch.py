"""What is told, shown and written of a pretraining run while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import nn

from mass3d.execution.progress import Advance
from mass3d.execution.summary import PLACES
from mass3d.pages.run import PACE, RunContent, write_run_page
from mass3d.pages.step import STEP_PAGE, write_step_page
from mass3d.pretext.seen import SeenPair, look
from mass3d.pretext.task import Batches, PretextTask
from mass3d.training.events import EventWriter
from mass3d.training.log import append_row, cut_rows
from mass3d.training.memory import peak_bytes
from mass3d.training.resume import read_record
from mass3d.training.step import Hook, Progress
from mass3d.transfer.validation.course import Course, Trial, begin_course
from mass3d.transfer.validation.settings import ValidationConfig

SHARE: Final = 0.02  # of the time, that pages may take
RARELY_S: Final = 30.0  # between two pages, at least
WAITING: Final = 0.2  # of the time, from which on it is said that steps wait for batches


@dataclass
class Watch:
    """Everything of a run that can be looked at while it goes on.

    Weights and draws are the same with and without it.
    """

    run: Path
    task: PretextTask
    trial: Trial
    settings: Mapping[str, Any]
    course: Course | None = None
    events: EventWriter | None = None
    batches: Batches | None = None
    begun: float = field(default_factory=time.monotonic)  # of the last page
    took: float = 0.0  # seconds, the last page

    def begin(self, validation: ValidationConfig, *, tensorboard: bool) -> None:
        """Go on where the run stands.

        Raises `ConfigError` where TensorBoard is not installed, and as `begin_course` does.
        """
        record = read_record(self.run)
        step = record.told if record is not None else 0
        cut_rows(self.run / PACE, step)
        if tensorboard:
            self.events = EventWriter(self.run, begin=step)
        if validation.dataset is not None:
            self.course = begin_course(self.run, validation, self.trial)

    def hooks(self, batches: Batches, advance: Advance) -> tuple[Hook, ...]:
        """Validate first: what comes after tells of it. The loop calls them in one process."""
        course, self.batches = self.course, batches

        def told(_: nn.Module, now: Progress) -> None:
            advance(now.step, "  ".join(self._words(now)))

        return (*([course] if course is not None else []), told, self.write)

    def _words(self, now: Progress) -> Iterator[str]:
        figure = self.task.figure
        yield f"loss {now.figures['loss']:.3f}"
        yield f"{figure} {now.figures[figure]:.3f}"
        yield f"{now.samples_per_s:.1f} samples/s"
        if now.wait_share > WAITING:
            yield f"{now.wait_share:.0%} of the time waits for batches"
        if self.course is not None and self.course.rows:
            yield self.course.in_words()

    def write(self, averaged: nn.Module, now: Progress) -> None:
        """The rows of this step, and the page where it is due."""
        pace = {"samples_per_s": now.samples_per_s, "wait_share": now.wait_share}
        append_row(self.run / PACE, {"step": now.step, **pace})
        row = self.course.rows[-1] if self.course is not None and self.course.rows else None
        validated = row if row is not None and row["step"] == now.step else None
        if self.events is not None:
            self.events.write(now.step, {**now.figures, **pace})
            if validated is not None:
                dice = {f"validation/{name}": one for name, one in validated["structures"].items()}
                self.events.write(now.step, {"validation": validated["dice"], **dice})
        if now.step == now.steps and self.events is not None:
            self.events.close()
        since = time.monotonic() - self.begun
        if now.step == now.steps or validated or since > max(RARELY_S, self.took / SHARE):
            self._show(averaged, now)

    def _show(self, averaged: nn.Module, now: Progress) -> None:
        self.begun = time.monotonic()
        show, batches, device = self.task.show, self.batches, self.trial.device
        seen: tuple[SeenPair, ...] = ()
        if show is not None and batches is not None:
            seen = look(averaged, show(batches(0, device)))
            if now.step == now.steps:
                write_step_page(self.run / STEP_PAGE, seen, steps=now.step)
        settings = {name: value for name, value in self.settings.items() if name not in PLACES}
        content = RunContent(now, self.task.figure, settings, peak_bytes(device), seen, self.course)
        write_run_page(self.run, content)
        self.took = time.monotonic() - self.begun
