"""`mass3d merge`: tasks of one model become one task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mass3d.config import Config
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import record_of, require_own_file, require_own_folder
from mass3d.execution.summary import Report, counted, warnings_told, write_provenance
from mass3d.transfer.merging import merge_tasks
from mass3d.transfer.task_file import hinted_run, load_task, save_task


class MergeConfig(Config):
    """Settings of `mass3d merge`."""

    tasks: tuple[Path, ...] = Field(min_length=1, examples=[["liver.task", "spleen.task"]])
    """Task files that the same model made; what the first says of a value holds."""
    output: Path = Field(examples=["organs.task"])
    """Task file to write."""


@dataclass(frozen=True)
class MergeReport(Report):
    """What a merged task holds."""

    path: Path
    structures: dict[str, int]
    references: tuple[str, ...]
    fingerprint: str
    renumbered: dict[str, dict[str, tuple[int, int]]]  # file -> structure -> value before and now
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        values = ", ".join(f"{name} = {value}" for name, value in self.structures.items())
        changed = "".join(
            f" {name} of {file} was {before} and is {now}."
            for file, names in self.renumbered.items()
            for name, (before, now) in names.items()
        )
        return (
            f"Task of {counted(len(self.structures), 'structure')} ({values}) from "
            f"{counted(len(self.references), 'reference')} in {self.path}."
            f"{changed}{warnings_told(self.warnings)}"
        )


def run(config: MergeConfig) -> MergeReport:
    """Merge tasks: their structures, and of equally named ones the references.

    Values that two structures share are renumbered. Raises `ModelError` for tasks of different
    models or settings, adapted tasks, and the same one or the same scan of a structure twice.
    """
    record = record_of(config.output)
    require_own_file(config.output, "task", inputs=config.tasks)
    require_own_folder(record, "merge", inputs=config.tasks)
    tasks = {path: load_task(path) for path in config.tasks}
    merged = merge_tasks(tasks)
    first = config.tasks[0]
    saved = save_task(merged.task, config.output, run=hinted_run(first, tasks[first]))
    told = {"structures": dict(saved.structures), "renumbered": merged.renumbered}
    write_provenance(record, "merge", config, fingerprint=saved.fingerprint, **told)
    made = config.output, dict(saved.structures), saved.reference_names, saved.fingerprint
    return MergeReport(*made, merged.renumbered, merged.odd)
