"""Task files: what a model needs to know about named structures, in kilobytes.

A task holds the tokens of every reference and structure, and what aligns the reference to other
scans: self-similarity of few bits, the label and a small tuned head; never intensities. It fits
exactly the model that made it: the fingerprint is checked before use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mass3d.errors import ModelError
from mass3d.training import checkpoint
from mass3d.transfer.oneshot.part import OneShotPart, PartFacts, pack_part, unpack_part
from mass3d.transfer.trained import TrainedModel

KIND = "task"


@dataclass(frozen=True)
class Task:
    """Tokens of named structures. Letters: R references, S structures, T tokens, C width."""

    tokens: Tensor  # (R, S, T, C)
    present: Tensor  # (R, S) bool: the reference shows the structure
    structures: dict[str, int]  # name -> label value, in the order of S
    references: tuple[str, ...]  # case ids, in the order of R
    model: str  # fingerprint of the model that made the tokens
    run: str  # where that model was, relative to the task file; a hint only
    fingerprint: str = ""  # SHA-256 over all of this, known once the task is on disk
    oneshot: OneShotPart | None = None  # for alignments


def save_task(path: Path, task: Task, *, run: Path) -> Task:
    """Write the task atomically; returns it with its fingerprint and the way to `run`."""
    hint = Path(os.path.relpath(run.resolve(), path.parent.resolve())).as_posix()
    facts: dict[str, Any] = {
        "structures": [[name, value] for name, value in task.structures.items()],
        "references": list(task.references),
        "model": task.model,
        "run": hint,
    }
    tensors = {"tokens": task.tokens, "present": task.present}
    if task.oneshot is not None:
        packed, told = pack_part(task.oneshot)
        tensors |= packed
        facts["oneshot"] = told.plain()
    fingerprint = checkpoint.save(path, tensors, kind=KIND, facts=facts)
    return replace(task, run=hint, fingerprint=fingerprint)


def load_task(path: Path) -> Task:
    """Read a task file. Raises `ModelError` when it is missing, foreign or damaged."""
    tensors, facts, fingerprint = checkpoint.load(path, kind=KIND)
    return Task(
        tensors["tokens"],
        tensors["present"],
        {name: int(value) for name, value in facts["structures"]},
        tuple(facts["references"]),
        facts["model"],
        facts["run"],
        fingerprint,
        _read_part(path, tensors, facts),
    )


def _read_part(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> OneShotPart | None:
    """What a task holds for alignments. Raises `ModelError` where it is not as it was written."""
    if "oneshot" not in facts:
        return None
    try:
        return unpack_part(tensors, PartFacts.model_validate(facts["oneshot"]))
    except ValueError as error:
        raise ModelError(
            path,
            found=f"labelled scans that are not as they were written ({error})",
            expected="a task as mass3d writes it",
            fix="The file was damaged or changed: copy it again or make the task anew.",
        ) from error


def require_model(where: Path | str, task: Task, trained: TrainedModel) -> None:
    """Raise `ModelError` unless the task was made by exactly this model."""
    if task.model != trained.fingerprint:
        raise ModelError(
            where,
            found=f"a task made by the model {task.model[:12]}…",
            expected=f"one made by the model at hand, {trained.fingerprint[:12]}…",
            fix="Use the run it was made with (-m RUN), or make the task again with this model.",
        )
