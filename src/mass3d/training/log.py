"""Rows of metrics.jsonl: figures of the steps since the last row, averaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mass3d.files import write_bytes, writing
from mass3d.training.step import StepOutcome


class Part(NamedTuple):
    """One batch of a step."""

    loss: Tensor
    case_ids: tuple[str, ...]


class Entry(NamedTuple):
    """One step."""

    step: int
    figures: dict[str, Tensor]  # scalars, kept on the device, where they came up
    parts: tuple[Part, ...]  # of this process; none of steps before a resume


@dataclass
class StepLog:
    """The steps that are not in a row yet."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, step: int, outcomes: Sequence[StepOutcome], norm: Tensor) -> None:
        """Note a step: the means over its batches, and the norm of the gradient."""
        told = [{"loss": o.loss, **o.figures} for o in outcomes]
        figures = {key: _mean([one[key].detach() for one in told]) for key in told[0]}
        figures["grad_norm"] = norm.detach().float()
        parts = tuple(Part(outcome.loss.detach(), outcome.case_ids) for outcome in outcomes)
        self.entries.append(Entry(step, figures, parts))

    def means(self) -> dict[str, Tensor]:
        """The mean of each figure over the steps."""
        return {key: values.mean() for key, values in self.tensors().items()}

    def first_not_finite(self) -> Entry | None:
        """The first step whose loss or gradient is not a finite number."""
        for entry in self.entries:
            if not bool(entry.figures["loss"].isfinite() & entry.figures["grad_norm"].isfinite()):
                return entry
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Each figure of all steps, (steps,), in the order of the last: a file sorts its names."""
        rows = [entry.figures for entry in self.entries]
        return {key: torch.stack([row[key] for row in rows]) for key in rows[-1]} if rows else {}

    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `tensors` gave at `step`."""
        length = len(next(iter(tensors.values()), ()))
        self.entries = [
            Entry(step - length + 1 + i, {key: values[i] for key, values in tensors.items()}, ())
            for i in range(length)
        ]


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.float() for value in values]).mean()


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line. Raises `OutputError`."""
    with writing(path), path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where there is no file yet."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def cut_rows(path: Path, step: int) -> None:
    """Drop rows past a resume state: those steps are taken again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _row_step(line) <= step]
    write_bytes(path, "".join(line + "\n" for line in kept).encode())


def _row_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the half-written last line of a killed run
