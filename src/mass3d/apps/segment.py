"""`mass3d segment`: find the structures of a task in every scan of a cohort, without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.progress import track

from mass3d.config import Config, Device, Scans
from mass3d.errors import ConfigError, DataError, Mass3dError, OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.summary import Report, write_provenance
from mass3d.files import file_hash, read_json, write_json
from mass3d.io.datasets.cohort import CaseFile, find_cohort, find_label, source_hash
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_label
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, find_run, load_task, require_model

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
    alignment: bool = True
    """Align the references to each scan; without, the network alone answers, as it does where no
    alignment is believed."""
    prior: Path | None = Field(default=None, examples=["rough.nii.gz"])
    """Label map of one scan, or a folder of <case> label maps, with the values of the task: takes
    the place of what is carried over from the references."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that its neighbours see too; more is smoother and slower."""
    device: Device = "auto"


@dataclass(frozen=True)
class SegmentReport(Report):
    """What became of every scan."""

    output: Path
    volumes_ml: dict[str, dict[str, float]]  # case -> structure -> millilitres
    faults: tuple[Fault, ...] = ()
    not_aligned: tuple[str, ...] = ()  # cases to which no reference could be aligned

    def summary(self) -> str:
        """One paragraph for people."""
        first = f"Segmented {len(self.volumes_ml)} scans into {self.output}."
        if not self.not_aligned:
            return first
        return (
            f"{first} No reference could be aligned to {', '.join(self.not_aligned)}: what the "
            "network says alone is less certain there."
        )


def run(config: SegmentConfig) -> SegmentReport:
    """Segment every scan; a scan that cannot be read becomes a fault and the others go on.

    Scans that the same task has already segmented into the same folder are not done again.
    Raises `ModelError` when task and model do not fit, `ConfigError` when the folder holds
    results of another task.
    """
    keep_freed_memory()
    task = load_task(config.task)
    segmenter = Segmenter.load(config.model or find_run(config.task, task), device=config.device)
    require_model(config.task, task, segmenter.trained)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    done = _begin(config, task)
    write_provenance(config.output, "segment", config, task=task.fingerprint)
    faults = []
    console = Console(stderr=True)
    for case in track(cases, "segment", console=console, disable=not console.is_terminal):
        try:
            source, prior = source_hash(case), _prior_of(config, case, len(cases))
            told = {"source": source} | ({"prior": file_hash(prior)} if prior else {})
            target = config.output / f"{case.case_id}.nii.gz"
            before = done.get(case.case_id, {})
            same = all(before.get(key) == told.get(key) for key in ("source", "prior"))
            if same and target.exists():
                continue
            entry = segment_case(segmenter, task, case, target, config=config, prior=prior)
        except OutputError:  # a full disk is full for the scans after this one, too
            raise
        except Mass3dError as error:
            faults.append(Fault(case.case_id, str(error)))
            continue
        done[case.case_id] = told | entry
        write_json(config.output / CASES, {"task": task.fingerprint, "cases": done})
    wanted = {case.case_id for case in cases}
    volumes_ml = {name: entry["volumes_ml"] for name, entry in done.items() if name in wanted}
    hoped = config.alignment and config.prior is None and task.oneshot is not None
    alone = [name for name in sorted(wanted & done.keys()) if done[name].get("method") == "network"]
    return SegmentReport(config.output, volumes_ml, tuple(faults), tuple(alone) if hoped else ())


def segment_case(
    segmenter: Segmenter,
    task: Task,
    case: CaseFile,
    target: Path,
    *,
    config: SegmentConfig,
    prior: Path | None = None,
) -> dict[str, Any]:
    """Segment one scan into `target`; returns how, and the volume of every structure in ml."""
    volume = read_volume(case.scan)
    given = None if prior is None else read_label(prior, like=volume)
    answer = segmenter.answer(
        volume, task, overlap=config.overlap, alignment=config.alignment, prior=given
    )
    write_label(target, answer.labels, volume.source)
    voxel_mm3 = float(np.prod(volume.spacing_mm))
    return {
        "volumes_ml": _volumes_ml(answer.labels, task.structures, voxel_mm3),
        "method": answer.method,
        "similarity": [round(one, 4) for one in answer.similarity],
    }


def _prior_of(config: SegmentConfig, case: CaseFile, cases: int) -> Path | None:
    """The label map that takes the place of what is carried over to a case, if any is given."""
    given = config.prior
    if given is None:
        return None
    found = find_label(given, case.case_id) if given.is_dir() else given
    if found is None or not found.exists():
        raise DataError(
            given,
            found=f"no label map of the case {case.case_id!r}",
            expected="a label map for every scan",
            fix="Add it, or leave the scan out.",
        )
    if not given.is_dir() and cases > 1:
        raise ConfigError(
            given,
            found=f"one label map for {cases} scans",
            expected="a folder of label maps that are called as the cases",
            fix="Give a folder, or one scan.",
            setting="prior",
        )
    return found


def _volumes_ml(
    labels: np.ndarray[Any, Any], structures: Mapping[str, int], voxel_mm3: float
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
            fix="Choose another folder.",
            setting="output",
        )
    cases: dict[str, Any] = found["cases"]
    return cases
