"""The commands behind the buttons: what the page runs, and what can be typed in its place."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from mass3d.config import toml_value
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.names import case_id_of
from mass3d.io.read import read_volume
from mass3d.io.write import write_image
from mass3d.server.project import Project, State
from mass3d.server.rounds import FOUND, TASK
from mass3d.volume.intensity import modality_of

Words = tuple[str, ...]


@dataclass(frozen=True)
class Further:
    """Settings of the page that are handed on to the verbs."""

    device: str = "auto"
    label_maps: bool = False
    tune: bool = True

    @property
    def words(self) -> list[str]:
        """For both verbs."""
        device = [] if self.device == "auto" else ["--device", self.device]
        return device + (["--set", "label_maps=true"] if self.label_maps else [])


PLAIN: Final = Further()
KINDS: Final = ("ct", "mr", "pet")  # folders of copies, by modality


@dataclass(frozen=True)
class Commands:
    """Makes them for a project."""

    project: Project
    cases: Mapping[str, CaseFile]
    further: Further = PLAIN

    def task(self, state: State, folder: Path) -> Words:
        """`mass3d task` of the references, for the round in `folder`."""
        images = [str(self.image(one)) for one in state.references]
        labels = [str(self.project.label(one)) for one in state.references]
        return (
            *("task", "-i", *map(_word, images), "-l", *map(_word, labels)),
            *("-m", _word(str(state.model)), "-o", _word(str(folder / TASK))),
            *("--set", f"structures={toml_value(state.values)}"),
            *(() if self.further.tune else ("--tune", "0")),
            *self.further.words,
        )

    def segment(self, state: State, folder: Path) -> Words:
        """`mass3d segment` of all scans, for the round in `folder`."""
        return (
            *("segment", *map(_word, map(str, state.inputs))),
            *("--task", _word(str(folder / TASK)), "-m", _word(str(state.model))),
            *("-o", _word(str(folder / FOUND)), *self.further.words),
        )

    def image(self, case_id: str) -> Path:
        """What `mass3d task` is given as the scan of a case."""
        case = self.cases[case_id]
        return case.path if self._is_lone(case) else self._copy(case_id)

    def provide(self, case_id: str) -> None:
        """Write a scan as a file of its own, where a path of its own is what it lacks.

        Of a folder or an archive of several series none can be named. The folder of the copy says
        the modality, which NIfTI does not. Raises `DataError`.
        """
        case = self.cases[case_id]
        if self._is_lone(case) or self._copy(case_id).exists():
            return
        volume = read_volume(case.scan)
        folder = self._copies / modality_of(volume)[0]
        write_image(folder / f"{case_id}.nii.gz", volume.voxels, volume.source)

    def case_of(self, path: str) -> str:
        """The case whose scan a command names so; the path itself where there is none."""
        known = self._by_path.get(path)
        if known is not None:
            return known
        copied = Path(path)
        return case_id_of(copied) if copied.parent.parent == self._copies else path

    @property
    def _copies(self) -> Path:
        return self.project.folder / "scans"

    def _copy(self, case_id: str) -> Path:
        found = (self._copies / kind / f"{case_id}.nii.gz" for kind in KINDS)
        return next((path for path in found if path.exists()), self._copies / f"{case_id}.nii.gz")

    @cached_property
    def _by_path(self) -> dict[str, str]:
        lone = (case for case in self.cases.values() if self._is_lone(case))
        return {_word(str(case.path)): case.case_id for case in lone}

    @cached_property
    def _within(self) -> Counter[Path]:
        """How many cases a path leads to: of a folder, those in it."""
        paths = [case.path for case in self.cases.values()]
        return Counter(place for path in paths for place in (path, *path.parents))

    def _is_lone(self, case: CaseFile) -> bool:
        """Whether the path of a case leads to it alone."""
        return case.series is None or self._within[case.path] == 1


def typed(words: Sequence[str]) -> str:
    """A command as it is typed."""
    return shlex.join(["mass3d", *words])


def _word(path: str) -> str:
    """A path that is not taken for an option."""
    return f"./{path}" if path.startswith("-") else path
