"""Features of a part of a scan: where a task finds its structures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import ConfigError, DataError
from mass3d.transfer.knowledge import Knowledge, load_knowledge
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

    @classmethod
    def load(cls, task: Path, structure: str | None, *, device: str = "auto") -> Region:
        """A task, and one of its structures, or all of them together.

        Raises `ConfigError` for a structure that it does not have, and as `load_knowledge`.
        """
        known = load_knowledge(task, None, device=device)
        if structure is not None and structure not in known.structures:
            raise ConfigError(
                task,
                found=f"the structures {', '.join(known.structures)}",
                expected=f"{structure!r} among them",
                fix="Name one of these, or none for all of them together.",
                setting="structure",
            )
        return cls(known, tuple(known.structures) if structure is None else (structure,))

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
