"""The scans of a project: which there are, and what their headers say without their voxels."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from mass3d.config import Config
from mass3d.errors import DataError, Mass3dError
from mass3d.files import read_json, real, text_hash, write_json
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.dicom.series import Series
from mass3d.io.dicom.volume import series_modality
from mass3d.io.formats.parsers import files_of
from mass3d.io.read import Header, read_grid
from mass3d.server.refusal import unknown
from mass3d.volume.intensity import modality_by_name
from mass3d.volume.volume import Modality

INDEX: Final = "headers.json"


class Facts(Config):
    """What is known of a scan that was not read whole."""

    stamp: str
    """Changes when the file does."""
    shape: tuple[int, ...] | None = None
    """In the axis order of the file."""
    spacing_mm: tuple[float, ...] | None = None
    """Likewise."""
    modality: Modality | None = None
    """By tag or name; once the scan was read, by its values, too."""
    error: str | None = None
    """Why it cannot be used."""


ALL: Final = TypeAdapter(dict[str, Facts])


def stamp_of(*paths: Path) -> str:
    """What changes when one of some files does; empty where one is not there."""
    try:
        told = [(found.st_size, found.st_mtime_ns) for found in map(os.stat, paths)]
    except OSError:
        return ""
    return text_hash(told)[:16]


@dataclass
class Scans:
    """The cases of a project, by id. Ids are looked up here and never made into paths of scans."""

    cases: Mapping[str, CaseFile]
    roots: Sequence[Path]  # what was given
    cache: Path
    links: bool = False  # whether links may lead out of what was given
    version: int = 0  # of the facts
    _facts: dict[str, Facts] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        try:
            found = ALL.validate_python(read_json(self.cache / INDEX))
        except (OSError, ValueError):
            found = {}
        self._facts = {name: one for name, one in found.items() if name in self.cases}

    def case(self, case_id: str) -> CaseFile:
        """A case. Raises `Refused` (404) where there is none."""
        if case_id not in self.cases:
            raise unknown("case of this name")
        return self.cases[case_id]

    def readable(self, case_id: str) -> CaseFile:
        """A case whose files lie within what was given. Raises `Refused` and `DataError`."""
        case = self.case(case_id)
        self._require_within(case)
        return case

    def stamp(self, case: CaseFile) -> str:
        """What changes when the scan does."""
        if case.series is None:
            return stamp_of(case.path)
        slices = case.series.slices
        return stamp_of(slices[0].file.path, slices[-1].file.path) + f"-{len(slices)}"

    def facts(self) -> dict[str, Facts]:
        """What is known of every scan; headers of files that have changed are read again."""
        with self._lock:
            changed = False
            for name, case in self.cases.items():
                stamp = self.stamp(case)
                if name not in self._facts or self._facts[name].stamp != stamp:
                    self._facts[name] = self._read(case, stamp)
                    changed = True
            if changed:
                self._keep()
            return dict(self._facts)

    def learn(self, case: CaseFile, modality: Modality) -> None:
        """Note the modality of a scan that was read whole."""
        with self._lock:
            known = self._facts.get(case.case_id) or self._read(case, self.stamp(case))
            if known.modality is None:
                known = known.model_copy(update={"modality": modality})
                self._facts[case.case_id] = known
                self._keep()

    def _keep(self) -> None:
        self.version += 1
        write_json(
            self.cache / INDEX, {name: one.plain() for name, one in sorted(self._facts.items())}
        )

    def _read(self, case: CaseFile, stamp: str) -> Facts:
        try:
            self._require_within(case)
            header = read_grid(case.scan)
        except (Mass3dError, OSError) as error:
            return Facts(stamp=stamp, error=str(error))
        tag = series_modality(case.series) if case.series else None
        return Facts(
            stamp=stamp,
            shape=header.source.shape,
            spacing_mm=file_spacing(header),
            modality=tag or modality_by_name(case.path),
        )

    def _require_within(self, case: CaseFile) -> None:
        """Raise `DataError` where a link leads out of what was given."""
        if self.links:
            return
        roots = [real(root) for root in self.roots]
        for file in _files(case):
            place = real(file)
            if not any(place == root or root in place.parents for root in roots):
                raise DataError(
                    file,
                    found="a link, or a header, that leads out of the given folders",
                    expected="scans within what was given",
                    fix="Give the folder that it leads to, or allow links.",
                    setting="links",
                )


def _files(case: CaseFile) -> Iterable[Path]:
    """The files of a case, with those that a header names."""
    if isinstance(case.scan, Series):
        return {part.file.path for part in case.scan.slices}
    return files_of(case.path)


def file_spacing(header: Header) -> tuple[float, ...]:
    """Voxel edges in the axis order of the file, rounded to what people read."""
    edges = np.linalg.norm(np.array(header.source.affine)[:3, :3], axis=0)
    return tuple(round(float(edge), 4) for edge in edges)
