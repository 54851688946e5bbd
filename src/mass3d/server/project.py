"""The project folder: what the page keeps, as files that the verbs read and write, too.

project.json              model, scans, structures, references
labels/<case>.nii.gz      label maps on the grid of each scan
rounds/<n>/               a task, and what was segmented with it (`rounds`)
jobs/                     what was run (`jobs`)
cache/                    may be removed at any time
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from mass3d.config import MAX_LABEL_VALUE, Config, CssColour, first_fault
from mass3d.errors import DataError
from mass3d.files import VERSION, read_json, real, write_json
from mass3d.io.colours import Colour, of_css, value_colours
from mass3d.io.formats.label_table import LabelName
from mass3d.pages.pictures import css
from mass3d.transfer.oneshot.settings import MAX_STRUCTURES

FILE: Final = "project.json"
LABELS, ROUNDS, JOBS, CACHE = "labels", "rounds", "jobs", "cache"


def _shown(name: str) -> str:
    if name != name.strip() or not name.isprintable():
        raise ValueError("a name of letters that can be shown, without spaces around it")
    return name


class Structure(Config):
    """What is drawn and found, and how it is shown."""

    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_shown)]
    value: int = Field(ge=1, le=MAX_LABEL_VALUE)
    """In label maps."""
    colour: CssColour

    @property
    def rgb(self) -> Colour:
        """The colour as numbers from 0 to 255."""
        return of_css(self.colour)


class State(Config):
    """project.json."""

    mass3d: str = VERSION
    """Version that wrote it."""
    model: Path
    inputs: tuple[Path, ...]
    structures: tuple[Structure, ...] = Field(default=(), max_length=MAX_STRUCTURES)
    references: tuple[str, ...] = ()
    """Case ids, in the order in which they were added."""
    corrected: tuple[str, ...] = ()
    """Cases whose label map was kept after they had been segmented."""
    round: int = 0
    """The newest round for which a task was asked for."""

    @property
    def values(self) -> dict[str, int]:
        """Structure -> label value."""
        return {one.name: one.value for one in self.structures}

    @property
    def colours(self) -> dict[int, Colour]:
        """Label value -> colour."""
        return {one.value: one.rgb for one in self.structures}

    @property
    def names(self) -> list[LabelName]:
        """For the header of a label map."""
        return [LabelName(one.value, one.name, one.rgb) for one in self.structures]


@dataclass(frozen=True)
class Project:
    """A project folder; whoever changes its state holds the lock meanwhile."""

    folder: Path
    cases: Collection[str]  # ids of the scans that are served
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def file(self) -> Path:
        """What is chosen."""
        return self.folder / FILE

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.folder / CACHE

    def label(self, case_id: str) -> Path:
        """Where the label map of a case is kept."""
        return self.folder / LABELS / f"{case_id}.nii.gz"

    def has_label(self, case_id: str) -> bool:
        """Whether there is a label map of a case."""
        return self.owns(self.label(case_id))

    def owns(self, path: Path) -> bool:
        """Whether this is a file of the project, and no link out of it."""
        return path.is_file() and real(self.folder) in real(path).parents

    def begin(self, model: Path, inputs: tuple[Path, ...]) -> None:
        """Start a project, or go on with one. Raises `DataError` for a damaged one."""
        with self.lock:
            if self.file.exists():
                self.change(model=model, inputs=inputs)
            else:
                write_json(self.file, State(model=model, inputs=inputs).plain())

    def state(self) -> State:
        """What the file says now, of scans and label maps that are there. Raises `DataError`."""
        state = self._read()
        there = {one for one in state.references if one in self.cases and self.has_label(one)}
        if len(there) == len(state.references):
            return state
        kept = tuple(one for one in state.references if one in there)
        return state.model_copy(update={"references": kept})

    def _read(self) -> State:
        try:
            return State.model_validate(read_json(self.file))
        except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
            raise DataError(
                self.file,
                found="a damaged project",
                expected="the file that mass3d serve wrote",
                fix="Remove this file to begin anew; label maps and rounds stay.",
            ) from error

    def change(self, **values: Any) -> State:
        """Replace some values of the state."""
        return self.update(lambda state: values)

    def update(self, change: Callable[[State], Mapping[str, Any]]) -> State:
        """Replace the values that `change` makes of the state, so that no other one is lost."""
        with self.lock:
            state = self.state()
            new = state.model_copy(update={"mass3d": VERSION, **change(state)})
            if new != state:
                write_json(self.file, new.plain())
            return new


def completed(given: list[Any], known: tuple[Structure, ...]) -> tuple[Structure, ...]:
    """Structures as a page gives them, with values and colours where these are missing.

    One that is known by its name keeps what it had. Raises `ValueError` for what is none.
    """
    if len(given) > MAX_STRUCTURES:
        raise ValueError(f"more than {MAX_STRUCTURES} structures")
    before = {one.name: one.plain() for one in known}
    entries = [_filled(one, before) for one in given]
    taken: set[int] = {entry["value"] for entry in entries if isinstance(entry["value"], int)}
    for entry in entries:
        if entry["value"] is None:
            lowest = min(set(range(1, len(taken) + 2)) - taken)
            taken.add(lowest)
            entry["value"] = lowest
        if entry["colour"] is None and isinstance(entry["value"], int):
            entry["colour"] = css(next(iter(value_colours([entry["value"]]).values())))
    try:
        found = tuple(Structure.model_validate(entry, strict=True) for entry in entries)
    except ValidationError as error:
        key, _, message = first_fault(error)
        raise ValueError(f"{key}: {message}") from error
    for key in ("name", "value"):
        if len({getattr(one, key) for one in found}) < len(found):
            raise ValueError(f"a {key} that is given twice")
    return found


def _filled(given: Any, before: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One structure as it was given, with what it had before under the same name."""
    if not isinstance(given, dict):
        raise ValueError("a structure without a name")
    name = given.get("name")
    old = before.get(name, {}) if isinstance(name, str) else {}
    missing = {key: old.get(key) for key in ("value", "colour") if given.get(key) is None}
    return {**given, **missing}
