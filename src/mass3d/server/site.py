"""Everything that one server knows and does, put together once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mass3d.files import VERSION, text_hash
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.dicom.segmentation import require_highdicom, write_segmentation
from mass3d.io.read import read_grid, read_label
from mass3d.server.commands import PLAIN, Commands, Further, typed
from mass3d.server.jobs import Jobs
from mass3d.server.labels import Labels, empty_scan
from mass3d.server.project import Project, State, completed
from mass3d.server.refusal import Refused, conflict, unknown
from mass3d.server.rounds import FAULTS, Round, Rounds
from mass3d.server.rows import Table
from mass3d.server.scans import Scans, stamp_of
from mass3d.server.thumbnails import Thumbnails
from mass3d.server.uploads import most_bytes, plain_nifti
from mass3d.server.volumes import Volumes
from mass3d.transfer.results import CASES

LOOK_S = 10.0  # how long a scan that was replaced may go unnoticed in the table


@dataclass
class Site:
    """A project with its scans."""

    project: Project
    scans: Scans
    labels: Labels
    rounds: Rounds
    volumes: Volumes
    thumbnails: Thumbnails
    commands: Commands
    jobs: Jobs
    table: Table
    _rows: dict[int, tuple[Any, bytes, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        folder: Path,
        cases: Sequence[CaseFile],
        roots: Sequence[Path],
        *,
        links: bool = False,
        further: Further = PLAIN,
    ) -> Site:
        """The parts of a server of these cases, found below `roots`."""
        known = {case.case_id: case for case in cases}
        project = Project(folder, known)
        scans = Scans(known, roots, project.cache, links)
        commands = Commands(project, known, further)
        rounds = Rounds(project, commands.case_of)
        labels = Labels(project, scans)
        volumes = Volumes(scans, project.cache)
        return cls(
            project=project,
            scans=scans,
            labels=labels,
            rounds=rounds,
            volumes=volumes,
            thumbnails=Thumbnails(volumes, labels, project.cache),
            commands=commands,
            jobs=Jobs(project, rounds, commands, list(known)),
            table=Table(project, scans, rounds, labels),
        )

    def about(self) -> dict[str, Any]:
        """What is chosen and made: the answer to /api/project."""
        state, made = self.project.state(), self.rounds.made()
        newest = made[-1] if made else None
        next_folder = self.rounds.folder(newest.number + 1 if newest else 1)
        task = typed(self.commands.task(state, next_folder)) if state.references else ""
        segment = typed(self.commands.segment(state, newest.folder)) if newest else ""
        return {
            "name": self.project.folder.absolute().name,
            "version": VERSION,
            "model": str(state.model),
            "scans": len(self.scans.cases),
            "structures": [one.plain() for one in state.structures],
            "references": list(state.references),
            "round": newest.number if newest else 0,
            "rounds": [self._round(one) for one in made],
            "stale": self.rounds.is_stale(newest, state),
            "commands": {"task": task, "segment": segment},
        }

    def _round(self, one: Round) -> dict[str, Any]:
        return {
            "round": one.number,
            "references": list(one.references),
            "structures": list(one.structures),
            "dice": one.dice,
            "segmented": len(self.rounds.results(one)),
        }

    def cases(self, number: int | None) -> tuple[bytes, str]:
        """The table in a round, by default the newest, as JSON, and a tag of what it says."""
        one = self._round_of(number)
        place = one.number if one else 0
        seen = self._seen(one)
        with self._lock:
            known = self._rows.get(place)
        if known is not None and known[0] == seen:
            return known[1], known[2]
        body = json.dumps({"round": place, "cases": self.table.rows(one)}, allow_nan=False).encode()
        tag = f'"{text_hash(body.decode())[:32]}"'
        with self._lock:
            self._rows[place] = (self._seen(one), body, tag)
        return body, tag

    def _seen(self, one: Round | None) -> tuple[Any, ...]:
        """What changes when the table does; files are looked at, none is read."""
        files = [self.project.file, self.project.folder / "labels"]
        if one is not None:
            files += [one.found / CASES, one.folder / FAULTS]
        return (self.scans.version, int(time.monotonic() / LOOK_S), *map(stamp_of, files))

    def _round_of(self, number: int | None) -> Round | None:
        if not number:
            return self.rounds.newest()
        one = self.rounds.of(number)
        if one is None:
            raise unknown("round of this number whose task is made")
        return one

    def thumbnail(self, case_id: str) -> Path:
        """The picture of a case."""
        self.scans.readable(case_id)
        one = self.rounds.newest()
        revision = self.table.revision(case_id, one)
        return self.thumbnails.of(case_id, revision, self.project.state(), one)

    def label_file(self, case_id: str, which: str) -> Path:
        """Where a label map of a case is. Raises `Refused` (404) where there is none."""
        self.scans.case(case_id)
        if which in ("drawn", "start") and self.labels.is_drawn(case_id):
            return self.project.label(case_id)
        if which in ("found", "start"):
            return self.result(case_id)
        raise unknown("label map that was drawn for this case")

    def result(self, case_id: str) -> Path:
        """The label map of the newest round. Raises `Refused` (404) where there is none."""
        self.scans.case(case_id)
        one = self.rounds.newest()
        if one is None or case_id not in self.rounds.results(one):
            raise unknown("segmentation of this case")
        file = one.label_map(case_id)
        if not self.project.owns(file):
            raise unknown("label map of this case any more")
        return file

    def label(self, case_id: str, which: str) -> Path:
        """A label map of a case for a viewer."""
        return self.volumes.label(case_id, self.label_file(case_id, which))

    def most_bytes(self, case_id: str) -> int:
        """Bytes that a label map of a case may have."""
        return most_bytes(read_grid(self.scans.readable(case_id).scan).grid.shape)

    def take_label(self, case_id: str, upload: Path, most: int) -> dict[str, float]:
        """Keep an upload as the label map of a case; the volumes in it."""
        label = self.labels.checked(case_id, plain_nifti(upload, most), self.project.state())
        with self.project.lock:
            volumes = self.labels.keep(label, self.project.state())
            one = self.rounds.newest()
            if one is not None and case_id in self.rounds.results(one):
                self.project.update(lambda state: {"corrected": _with(state.corrected, case_id)})
        return volumes

    def remove_label(self, case_id: str) -> None:
        """Remove the label map of a case, which then is no reference any more."""
        self.scans.case(case_id)
        with self.project.lock:
            self.labels.remove(case_id)
            self.project.update(
                lambda state: {
                    "references": _without(state.references, case_id),
                    "corrected": _without(state.corrected, case_id),
                }
            )

    def use_reference(self, case_id: str, *, use: bool) -> None:
        """Use a case as a reference, or no longer. Raises `Refused` where nothing is drawn."""
        self.scans.readable(case_id)
        if use and self.labels.is_drawn(case_id):
            self.commands.provide(case_id)
        with self.project.lock:
            if use and not self.labels.is_drawn(case_id):
                raise conflict(
                    "no label map of this case", "one that was drawn or loaded", "Draw one first."
                )
            change = _with if use else _without
            self.project.update(lambda state: {"references": change(state.references, case_id)})

    def set_structures(self, given: Any) -> None:
        """Replace the structures. Raises `Refused` (422, or 409 where one is left out in use)."""
        self.labels.values_in_use()  # reads what was not seen yet, while nobody waits for the lock
        with self.project.lock:
            state = self.project.state()
            structures = self._completed(given, state)
            kept = {one.value for one in structures}
            used = self.labels.values_in_use()
            lost = next((value for value in used if value not in kept), None)
            if lost is not None:
                raise conflict(
                    f"no structure of the value {lost}, which the label map of {used[lost]} has",
                    "a structure for every value in use",
                    "Remove it from the label maps first.",
                )
            self.project.change(structures=structures)

    def _completed(self, given: Any, state: State) -> Any:
        try:
            if not isinstance(given, list):
                raise ValueError("a list")
            return completed(given, state.structures)
        except ValueError as error:
            raise Refused(
                422,
                found=f"structures that are not right ({error})"[:300],
                expected="a list of {name, value, colour}, every name and value once",
                fix="Correct the name, the value or the colour.",
            ) from error

    def dicom(self, case_id: str) -> Path:
        """The result of a case as a DICOM segmentation. Raises `Refused` and `ConfigError`."""
        case = self.scans.readable(case_id)
        result = self.result(case_id)
        if case.series is None:
            raise conflict("a scan that is no DICOM series", "a series", "Download the NIfTI file.")
        require_highdicom()
        state = self.project.state()
        colours = [one.colour for one in state.structures]
        key = text_hash([case_id, stamp_of(result), colours])[:32]
        target = self.project.cache / "dicom" / f"{key}.dcm"
        if not target.exists():
            header = read_grid(case.scan)
            label = read_label(result, like=empty_scan(header, case.path))
            write_segmentation(target, label.voxels, header.source, case.scan, state.names)
        return target

    def task(self) -> Path:
        """The newest task file. Raises `Refused` (404) where there is none."""
        one = self.rounds.newest()
        if one is None:
            raise unknown("task")
        return one.task


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names else (*names, name)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)
