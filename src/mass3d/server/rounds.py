"""Rounds: each a task that was made of the references then, and what was found with it.

A round is made once its task file is there, whoever has typed the command; what is known of it is
what the verbs have written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from mass3d.config import Config
from mass3d.errors import DataError
from mass3d.execution.ownership import earlier_record, record_of
from mass3d.files import file_hash, read_json, write_json
from mass3d.server.project import ROUNDS, Project, State
from mass3d.server.scans import stamp_of
from mass3d.transfer.results import CASES, Entry, read_results

TASK, FOUND, BEGUN, FAULTS = "task.task", "found", "round.json", "faults.json"
SCORES: Final = ("itself", "others", "affine")


class Begun(Config):
    """round.json: what a task was asked to be made of, when the page asked for it."""

    model: str
    structures: dict[str, int]
    labels: dict[str, str]
    """Reference -> SHA-256 of its label map."""


@dataclass(frozen=True)
class Round:
    """A round whose task is there."""

    number: int
    folder: Path
    references: tuple[str, ...]
    structures: dict[str, int]
    model: str
    dice: dict[str, dict[str, float | None]]
    begun: Begun | None  # None where it was not the page that asked for it

    @property
    def task(self) -> Path:
        """Its task file."""
        return self.folder / TASK

    @property
    def found(self) -> Path:
        """The folder of what was segmented with it."""
        return self.folder / FOUND

    def label_map(self, case_id: str) -> Path:
        """Where the label map of a case is, once it was segmented."""
        return self.found / f"{case_id}.nii.gz"


@dataclass
class Rounds:
    """The rounds of a project. What has not changed on disk is not read again."""

    project: Project
    case_of: Callable[[str], str]  # the case whose scan a command names so
    _known: dict[Path, tuple[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def folder(self, number: int) -> Path:
        """Where a round lies."""
        return self.project.folder / ROUNDS / str(number)

    def made(self) -> list[Round]:
        """All rounds whose task is there, the newest last."""
        top = self.project.folder / ROUNDS
        numbers = [int(path.name) for path in _folders(top) if path.name.isdecimal()]
        return [self._round(number) for number in sorted(numbers) if self._is_made(number)]

    def newest(self) -> Round | None:
        """The newest of them."""
        return next(reversed(self.made()), None)

    def of(self, number: int) -> Round | None:
        """The round of a number, where it is made."""
        return self._round(number) if self._is_made(number) else None

    def _is_made(self, number: int) -> bool:
        return number > 0 and self.project.owns(self.folder(number) / TASK)

    def results(self, one: Round) -> dict[str, Entry]:
        """What was segmented and is finished, by case."""
        file = one.found / CASES
        return self._unless_known(file, lambda: _finished(one.found)) or {}

    def faults(self, one: Round) -> dict[str, str]:
        """Case -> why it could not be segmented, as the last job told."""
        file = one.folder / FAULTS
        return self._unless_known(file, lambda: _texts(file)) or {}

    def begin(self, number: int, state: State) -> None:
        """Note what the task of a round is to be made of, now."""
        labels = {one: file_hash(self.project.label(one)) for one in state.references}
        begun = Begun(model=str(state.model), structures=state.values, labels=labels)
        write_json(self.folder(number) / BEGUN, begun.plain())

    def is_stale(self, one: Round | None, state: State) -> bool:
        """Whether a task made now would be another one than that of the round."""
        if one is None:
            return bool(state.references)
        same = (set(state.references), state.values, str(state.model)) == (
            set(one.references),
            one.structures,
            one.model,
        )
        return not same or any(self._changed(one, name) for name in state.references)

    def _changed(self, one: Round, case_id: str) -> bool:
        """Whether the label map of a reference is another one than the task was made of."""
        label = self.project.label(case_id)
        if not self.project.owns(label):
            return True
        if one.begun is None:
            return label.stat().st_mtime_ns > one.task.stat().st_mtime_ns
        return self._hash(label) != one.begun.labels.get(case_id)

    def _hash(self, path: Path) -> str:
        return str(self._unless_known(path, lambda: file_hash(path)))

    def _round(self, number: int) -> Round:
        folder = self.folder(number)
        record = earlier_record(record_of(folder / TASK))
        settings, told = record.get("config"), record.get("dice")
        settings = settings if isinstance(settings, dict) else {}
        dice = told if isinstance(told, dict) else {}
        begun = _begun(folder / BEGUN)
        structures = settings.get("structures") or dict.fromkeys(dice, 0)
        return Round(
            number,
            folder,
            tuple(self.case_of(str(one)) for one in settings.get("images", ())),
            dict(sorted(structures.items(), key=itemgetter(1))),
            str(settings.get("model", "")),
            {name: {key: _number(one, key) for key in SCORES} for name, one in dice.items()},
            begun,
        )

    def _unless_known(self, file: Path, read: Any) -> Any:
        """What `read` gives, or gave while the file was as it is; None where there is none."""
        stamp = stamp_of(file)
        with self._lock:
            before = self._known.get(file)
            if before is not None and before[0] == stamp:
                return before[1]
        value = read() if stamp else None
        with self._lock:
            self._known[file] = (stamp, value)
        return value


def _folders(top: Path) -> list[Path]:
    try:
        return [path for path in top.iterdir() if path.is_dir()]
    except OSError:
        return []


def _finished(found: Path) -> dict[str, Entry]:
    try:
        index = read_results(found)
    except DataError:
        return {}
    return {name: entry for name, entry in index.cases.items() if entry.result}


def _texts(file: Path) -> dict[str, str]:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _begun(file: Path) -> Begun | None:
    try:
        return Begun.model_validate(read_json(file))
    except (OSError, ValueError):
        return None


def _number(scores: Any, key: str) -> float | None:
    found = scores.get(key) if isinstance(scores, dict) else None
    return round(float(found), 4) if isinstance(found, int | float) else None
