"""`mass3d locate`: where the structures of a task are in every scan, without segmenting them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import ConfigError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.progress import TellOnce
from mass3d.execution.summary import Report, counted, in_short, warnings_told, write_provenance
from mass3d.files import write_json, write_text
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.read import read_volume
from mass3d.transfer.knowledge import Knowledge, load_knowledge
from mass3d.transfer.oneshot.locations import Found, as_csv, as_json, location
from mass3d.transfer.task_file import require_scans
from mass3d.volume.doubts import require_scan

FILE, TABLE = "locations.json", "locations.csv"


class LocateConfig(Config):
    """Settings of `mass3d locate`."""

    inputs: Scans
    task: Path = Field(examples=["liver.task"])
    """Task file."""
    output: Path = Field(examples=["located"])
    """Folder for locations.json and locations.csv."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder or weights file; by default where it was when the task was made."""
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class LocateReport(Report):
    """Where the structures are in every scan."""

    output: Path
    locations: dict[str, Found]  # by case
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        scans = counted(len(self.locations), "scan")
        told = warnings_told(self.warnings)
        return f"Located structures in {scans}; see {self.output / TABLE}.{told}"


@dataclass(frozen=True)
class _Located:
    structures: Found
    doubts: tuple[str, ...]


def run(config: LocateConfig) -> LocateReport:
    """Locate the structures in every scan; one that cannot be read becomes a fault.

    Only coarse alignments are made, a fraction of a second for each reference. Raises
    `ModelError` when task and model do not fit, and for a task without labelled scans,
    `ConfigError` for a finetuned model and an output that holds anything but such results.
    """
    given = (*config.inputs, config.task, config.model)
    require_own_folder(config.output, "locate", inputs=given)
    keep_freed_memory()
    known = load_knowledge(config.task, config.model, device=config.device)
    _require_places(config, known)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    write_provenance(config.output, "locate", config, task=known.fingerprint)
    jobs = {case.case_id: case for case in cases}
    work = partial(_locate, config, known, TellOnce())
    outcomes = run_cases(work, jobs, workers=1, title="locate")
    located = {case: one for case, one in outcomes.items() if not isinstance(one, Fault)}
    found = {case: one.structures for case, one in located.items()}
    doubts = {case: one.doubts for case, one in located.items() if one.doubts}
    facts = {"task": known.fingerprint, "cases": as_json(found), "doubts": doubts}
    write_json(config.output / FILE, facts)
    write_text(config.output / TABLE, as_csv(found))
    return LocateReport(config.output, found, tuple(in_short(doubts)), faults_of(outcomes))


def _locate(config: LocateConfig, known: Knowledge, warn: TellOnce, case: CaseFile) -> _Located:
    volume = read_volume(case.scan)
    require_scan(volume, label_maps=config.label_maps)
    doubts = known.doubts(volume)
    warn(case.case_id, doubts)
    assert known.task is not None, "what was just loaded"
    scan, places = known.segmenter.locate(volume, known.task)
    found = {
        name: None if place is None else location(place, scan)
        for name, place in zip(known.structures, places, strict=True)
    }
    return _Located(found, doubts)


def _require_places(config: LocateConfig, known: Knowledge) -> None:
    """Raise an error where the model or the task cannot tell places."""
    if known.nearest is None:
        raise ConfigError(
            config.model or config.task,
            found="a finetuned model",
            expected="the pretrained model that made the task, as it is located by its examples",
            fix="Leave the model out, or give that one.",
            setting="model",
        )
    require_scans(config.task, known.nearest)
