"""`mass3d adapt`: adapt a task to a cohort of unlabelled scans."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import record_of, require_own_file, require_own_folder
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.cohort import find_cohort
from mass3d.transfer.adaptation.learned import CohortFacts
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.adaptation.verb import adapt_task
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import find_run, load_task, save_task


class AdaptConfig(Config):
    """Settings of `mass3d adapt`."""

    inputs: Scans
    task: Path = Field(examples=["liver.task"])
    """Task file. The scans that it was made from must be among the scans."""
    output: Path = Field(examples=["adapted.task"])
    """Task file to write."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder or weights file; by default where it was when the task was made."""
    adaptation: AdaptationConfig = AdaptationConfig()
    """How unlabelled scans are used."""
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class AdaptReport(Report):
    """What an adaptation decided, and why."""

    path: Path
    structures: dict[str, bool]  # whether the unlabelled scans improve it
    cohort: CohortFacts
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people, and a line for each structure."""
        trusted, left_out = len(self.cohort.trusted), len(self.cohort.left_out)
        scans = f"{counted(trusted, 'scan')} trusted, {left_out} left out"
        lines = [
            f"Adapted task in {self.path}: {scans}. Dice on the references: of labels propagated "
            "from these scans by alignment, and of the network that learned from them:"
        ]
        rows = zip(self.structures.items(), self.cohort.aligned, self.cohort.learned, strict=True)
        for (name, used), *both in rows:
            told = "  ".join("  -  " if one is None else f"{one:.3f}" for one in both)
            lines.append(f"  {name}  {told}  {'adapted' if used else 'as before'}")
        return "\n".join(lines)


def run(config: AdaptConfig) -> AdaptReport:
    """Adapt a task; a structure for which it does not pay is found as before.

    A run that was stopped goes on with the next scan and ends with the same bytes. Raises
    `DataError` where the scan of a reference is missing, or there is too little to learn from,
    `ModelError` when task and model do not fit.
    """
    given = (*config.inputs, config.task, config.model)
    folder = record_of(config.output)
    require_own_file(config.output, "task", inputs=given)
    require_own_folder(folder, "adapt", inputs=given)
    keep_freed_memory()
    task = load_task(config.task)
    run_folder = config.model or find_run(config.task, task)
    segmenter = Segmenter.load(run_folder, device=config.device)
    cases = find_cohort(config.inputs, exclude=folder).cases
    with only_writer(folder, OutputError):
        write_provenance(folder, "adapt", config)
        found = adapt_task(
            segmenter,
            task,
            cases,
            folder / "answers",
            config.adaptation,
            label_maps=config.label_maps,
        )
        saved = save_task(replace(task, oneshot=found.part), config.output, run=run_folder)
        assert found.part.cohort is not None, "what was just learned"
        facts, used = found.part.cohort.facts, found.part.cohort.used.tolist()
        names = dict(zip(task.structures, used, strict=True))
        made = {"fingerprint": saved.fingerprint, "task_fingerprint": task.fingerprint}
        write_provenance(folder, "adapt", config, adapted=names, **made, **facts.plain())
        shutil.rmtree(folder / "answers", ignore_errors=True)
    return AdaptReport(config.output, names, facts, found.faults)
