"""Label maps that were drawn: which there are, what they hold, and taking new ones in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from mass3d.errors import DataError
from mass3d.files import read_json, write_json, writing
from mass3d.io.read import Header, read_grid, read_label
from mass3d.io.write import write_label
from mass3d.server.project import Project, State
from mass3d.server.refusal import Refused
from mass3d.server.scans import Facts, Scans, stamp_of
from mass3d.volume.volume import Volume

INDEX: Final = "labels.json"
THE_LABEL: Final = "the label map"
COUNTS: Final = TypeAdapter(dict[str, tuple[str, dict[int, int]]])  # case -> stamp, value -> voxels


def empty_scan(header: Header, path: Path) -> Volume:
    """A volume on the grid of a header that takes no memory: what a label is compared with."""
    nothing = np.broadcast_to(np.uint8(0), header.grid.shape)
    return Volume(nothing, header.grid, header.source, path)


@dataclass(frozen=True)
class Checked:
    """A label map that may be kept."""

    case_id: str
    file: Path
    counts: dict[int, int]  # value -> voxels
    voxel_ml: float


@dataclass
class Labels:
    """The label maps of a project, on the exact grids of its scans."""

    project: Project
    scans: Scans
    _counts: dict[str, tuple[str, dict[int, int]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        try:
            self._counts = COUNTS.validate_python(read_json(self._index))
        except (OSError, ValueError):
            self._counts = {}

    @property
    def _index(self) -> Path:
        return self.project.cache / INDEX

    def is_drawn(self, case_id: str) -> bool:
        """Whether there is a label map of a case."""
        return self.project.has_label(case_id)

    def drawn(self) -> list[str]:
        """All cases with one."""
        return [name for name in self.scans.cases if self.is_drawn(name)]

    def checked(self, case_id: str, upload: Path, state: State) -> Checked:
        """Check a NIfTI file, and write it beside itself as it would be kept.

        Raises `DataError` for a damaged file or one on another grid, `Refused` for values that no
        structure has.
        """
        case = self.scans.readable(case_id)
        header = read_grid(case.scan)
        try:
            label = read_label(upload, like=empty_scan(header, case.path))
        except DataError as error:
            raise Refused(
                422, THE_LABEL, found=error.found, expected=error.expected, fix=error.fix
            ) from error
        counts = counted(label.voxels)
        _require_known(counts, state)
        file = upload.with_name("kept.nii.gz")
        write_label(file, label.voxels, header.source, names=state.names)
        return Checked(case_id, file, counts, header.grid.voxel_ml)

    def keep(self, label: Checked, state: State) -> dict[str, float]:
        """Put a checked label map in place; the volumes in it. Raises `Refused`, `OutputError`."""
        _require_known(label.counts, state)  # which may have changed since
        target = self.project.label(label.case_id)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            label.file.replace(target)
        self._note(label.case_id, label.counts)
        return in_ml(label.counts, state, label.voxel_ml)

    def remove(self, case_id: str) -> None:
        """Remove the label map of a case, where there is one."""
        self.project.label(case_id).unlink(missing_ok=True)

    def known_volumes_ml(self, case_id: str, facts: Facts, state: State) -> dict[str, float]:
        """Structure -> millilitres, where that is known without reading the label map."""
        with self._lock:
            known = self._counts.get(case_id)
        if known is None or facts.spacing_mm is None:
            return {}
        if known[0] != stamp_of(self.project.label(case_id)):
            return {}
        return in_ml(known[1], state, float(np.prod(facts.spacing_mm)) / 1000)

    def values_in_use(self) -> dict[int, str]:
        """Label value -> a case that has it; label maps that were not seen yet are read."""
        found: dict[int, str] = {}
        for name in self.drawn():
            for value in self._counts_of(name):
                found.setdefault(value, name)
        return found

    def _counts_of(self, case_id: str) -> Mapping[int, int]:
        file = self.project.label(case_id)
        with self._lock:
            known = self._counts.get(case_id)
        if known is not None and known[0] == stamp_of(file):
            return known[1]
        try:
            counts = counted(read_label(file).voxels)
        except DataError:
            return {}  # nothing can be said of it; making a task will
        self._note(case_id, counts)
        return counts

    def _note(self, case_id: str, counts: dict[int, int]) -> None:
        with self._lock:
            self._counts[case_id] = (stamp_of(self.project.label(case_id)), counts)
            plain = {name: [stamp, found] for name, (stamp, found) in self._counts.items()}
            write_json(self._index, plain)


def counted(label: NDArray[Any]) -> dict[int, int]:
    """Label value -> voxels, without the background."""
    counts = np.bincount(label.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value}


def in_ml(counts: Mapping[int, int], state: State, voxel_ml: float) -> dict[str, float]:
    """Structure -> millilitres."""
    return {one.name: round(counts.get(one.value, 0) * voxel_ml, 4) for one in state.structures}


def _require_known(counts: Mapping[int, int], state: State) -> None:
    strange = sorted(set(counts) - set(state.values.values()))
    if strange:
        raise Refused(
            422,
            THE_LABEL,
            found=f"label values {', '.join(map(str, strange[:10]))}",
            expected=f"0, and those of the structures ({_told(state)})",
            fix="Add the structures first, or renumber the label map.",
        )


def _told(state: State) -> str:
    return ", ".join(f"{one.value} {one.name}" for one in state.structures) or "there are none yet"
