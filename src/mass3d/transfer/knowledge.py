"""What can segment without further questions: a model with a task, or a finetuned model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import ConfigError
from mass3d.transfer.finetuned.segmenter import load_finetuned
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, find_run, load_task, require_model


@dataclass(frozen=True)
class Knowledge:
    """A model, and the structures that it can find."""

    segmenter: Segmenter
    task: Task | None  # None: the model knows its structures by itself
    structures: Mapping[str, int]  # name -> label value
    fingerprint: str  # of all that decides a result, but for settings

    @property
    def modalities(self) -> frozenset[str]:
        """Of the scans that the task was made of; empty where nothing tells."""
        part = self.task.oneshot if self.task else None
        scans = part.scans if part else ()
        return frozenset(one.modality for one in scans if one.modality)


def load_knowledge(
    task: Path | None, model: Path | None, *, prior: Path | None = None, device: str = "auto"
) -> Knowledge:
    """Load a task and its model, by default from where it was; or a finetuned model alone.

    Raises `ConfigError` where neither is given, and for a prior without a task, `ModelError` where
    one cannot be trusted or they do not fit.
    """
    if task is not None:
        found = load_task(task)
        segmenter = Segmenter.load(model or find_run(task, found), device=device)
        require_model(task, found, segmenter.trained)
        return Knowledge(segmenter, found, found.structures, found.fingerprint)
    if model is None:
        raise ConfigError(
            "task",
            found="neither a task nor a model",
            expected="a task, or a finetuned model, which knows its structures",
            fix="Say what to look for.",
            setting="task",
        )
    if prior is not None:
        raise ConfigError(
            prior,
            found="a prior without a task",
            expected="a task whose values it has; a finetuned model takes no prior",
            fix="Give the task, or leave the prior out.",
            setting="prior",
        )
    tuned = load_finetuned(model, device=device)
    return Knowledge(tuned, None, tuned.structures, tuned.trained.fingerprint)
