"""Features of a part of a scan: where a task finds its structures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.transfer.knowledge import Knowledge, load_knowledge
from mass3d.transfer.task_file import find_run, load_task
from mass3d.transfer.trained import read_run
from mass3d.volume.preparation import Prepared, prepare_label
from mass3d.volume.volume import Volume


def require_task(task: Path | None, structure: str | None) -> None:
    """Raise `ConfigError` for a structure without the task that is to find it."""
    if structure is not None and task is None:
        raise ConfigError(
            "structure",
            found=f"the structure {structure!r} without a task",
            expected="a task that finds it",
            fix="Say which task in the setting within, or leave the structure out.",
            setting="structure",
        )


@dataclass(frozen=True)
class Region:
    """What finds a part of a scan."""

    known: Knowledge
    names: tuple[str, ...]  # of the structures that are the part together

    @property
    def fingerprint(self) -> str:
        """Of all that decides where the part is."""
        return f"{', '.join(self.names)} by {self.known.fingerprint}"

    def find(self, volume: Volume, scan: Prepared) -> NDArray[np.bool_]:
        """The part on the prepared grid (D, H, W). Raises `DataError` where there is none of it."""
        labels = self.known.segmenter.answer(volume, self.known.task).labels
        members = self.known.targets.members
        values = [value for name in self.names for value in members[name]]
        part = prepare_label(volume.with_voxels(np.isin(labels, values)), scan.grid)
        if not part.any():
            raise DataError(
                volume.path or "scan",
                found=f"no {' or '.join(self.names)}",
                expected="a scan in which the task finds some",
                fix="Leave the scan out, or segment it to see what is found.",
            )
        return np.asarray(part, np.bool_)


def load_region(
    within: Path | None, structure: str | None, model: Path, *, device: str = "auto"
) -> Region | None:
    """A task, and one of its structures, or all of them together; None without a task.

    `model` is asked with it where it made the task, else the run of which the task says where it
    is. Raises `ConfigError` for a structure that the task does not have, `ModelError` where
    neither is the task's model, and as `load_knowledge`.
    """
    if within is None:
        return None
    known = load_knowledge(within, _maker(within, model), device=device)
    if structure is not None and structure not in known.structures:
        raise ConfigError(
            within,
            found=f"the structures {', '.join(known.structures)}",
            expected=f"{structure!r} among them",
            fix="Name one of these, or none for all of them together.",
            setting="structure",
        )
    return Region(known, tuple(known.structures) if structure is None else (structure,))


def _maker(path: Path, model: Path) -> Path:
    """The run that made a task: the one at hand, else where the task says it is."""
    task = load_task(path)
    if read_run(model)[2] == task.model:
        return model
    try:
        return find_run(path, task)
    except ModelError as error:
        raise ModelError(
            path,
            found=f"{error.found}; {model} is another model than the one that made the task",
            expected=error.expected,
            fix="Take that run as the model here, or make the task again with the model at hand.",
            setting="within",
        ) from error
