"""`mass3d segment`: find the structures of a task in every scan of a cohort, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.progress import track

from mass3d.config import Config, Device, Scans
from mass3d.errors import ConfigError, Mass3dError, ModelError, OutputError
from mass3d.execution.faults import Fault
from mass3d.execution.summary import Report, write_provenance
from mass3d.files import read_json, write_json
from mass3d.io.datasets.cohort import CaseFile, find_cohort, source_hash
from mass3d.io.read import read_volume
from mass3d.io.write import write_label
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, load_task, require_model

CASES = "cases.json"


class SegmentConfig(Config):
    """Settings of `mass3d segment`."""

    inputs: Scans
    task: Path = Field(examples=["liver.task"])
    """Task file."""
    output: Path = Field(examples=["found"])
    """Folder for <case>.nii.gz on the exact grid of each scan."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder; by default where it was when the task was made."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that its neighbours see too; more is smoother and slower."""
    device: Device = "auto"


@dataclass(frozen=True)
class SegmentReport(Report):
    """What became of every scan."""

    output: Path
    volumes_ml: dict[str, dict[str, float]]  # case -> structure -> millilitres
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        return f"Segmented {len(self.volumes_ml)} scans into {self.output}."


def run(config: SegmentConfig) -> SegmentReport:
    """Segment every scan; a scan that cannot be read becomes a fault and the others go on.

    Scans that the same task has already segmented into the same folder are not done again.
    Raises `ModelError` when task and model do not fit, `ConfigError` when the folder holds
    results of another task.
    """
    task = load_task(config.task)
    segmenter = Segmenter.load(_find_model(config, task), device=config.device)
    require_model(config.task, task, segmenter.trained)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    done = _begin(config, task)
    write_provenance(config.output, "segment", config, task=task.fingerprint)
    faults = []
    console = Console(stderr=True)
    for case in track(cases, "segment", console=console, disable=not console.is_terminal):
        try:
            source = source_hash(case)
            target = config.output / f"{case.case_id}.nii.gz"
            if done.get(case.case_id, {}).get("source") == source and target.exists():
                continue
            volumes = segment_case(segmenter, task, case, target, overlap=config.overlap)
        except OutputError:  # a full disk is full for the scans after this one, too
            raise
        except Mass3dError as error:
            faults.append(Fault(case.case_id, str(error)))
            continue
        done[case.case_id] = {"source": source, "volumes_ml": volumes}
        write_json(config.output / CASES, {"task": task.fingerprint, "cases": done})
    wanted = {case.case_id for case in cases}
    volumes_ml = {name: entry["volumes_ml"] for name, entry in done.items() if name in wanted}
    return SegmentReport(config.output, volumes_ml, tuple(faults))


def segment_case(
    segmenter: Segmenter, task: Task, case: CaseFile, target: Path, *, overlap: float
) -> dict[str, float]:
    """Segment one scan into `target`; returns the volume of every structure in millilitres."""
    volume = read_volume(case.scan)
    labels = segmenter.segment(volume, task, overlap=overlap)
    write_label(target, labels, volume.source)
    return _volumes_ml(labels, task.structures, float(np.prod(volume.spacing_mm)))


def _volumes_ml(
    labels: np.ndarray[Any, Any], structures: dict[str, int], voxel_mm3: float
) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=max(structures.values()) + 1)
    return {
        name: round(float(counts[value]) * voxel_mm3 / 1000, 4)
        for name, value in structures.items()
    }


def _begin(config: SegmentConfig, task: Task) -> dict[str, Any]:
    """Entries of cases that this task has already segmented into the folder."""
    index = config.output / CASES
    if not index.exists():
        return {}
    found = read_json(index)
    if found.get("task") != task.fingerprint:
        raise ConfigError(
            config.output,
            found="results of another task",
            expected="an empty folder, or one of this task",
            fix="Choose another -o.",
        )
    cases: dict[str, Any] = found["cases"]
    return cases


def _find_model(config: SegmentConfig, task: Task) -> Path:
    if config.model is not None:
        return config.model
    hinted = (config.task.parent / task.run).resolve()
    if not hinted.exists():
        raise ModelError(
            config.task,
            found=f"no model at {task.run}, where it was when the task was made",
            expected="the run folder that made the task",
            fix="Say where it is now: -m RUN.",
        )
    return hinted
