"""`mass3d task`: turn one or a few labelled scans into a task file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from mass3d.config import Config, CssColour, Device, LabelMaps, Structures
from mass3d.errors import ConfigError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import record_of, require_own_file, require_own_folder
from mass3d.execution.progress import tell_all
from mass3d.execution.summary import Report, counted, warnings_told, write_provenance
from mass3d.io.datasets.dataset_json import read_ignored
from mass3d.io.datasets.label_maps import chosen_colours, named_structures, values_in
from mass3d.io.names import case_id_of
from mass3d.io.read import read_label, read_volume
from mass3d.transfer.made_of import made_of, same_scans
from mass3d.transfer.references import odd_labels
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, save_task
from mass3d.transfer.trained import doubts_about, require_matching
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.volume.doubts import require_scan


class TaskConfig(Config):
    """Settings of `mass3d task`."""

    images: tuple[Path, ...] = Field(min_length=1, examples=[["a.nii.gz", "b.nii.gz"]])
    """Reference scans: files, or folders or archives (.zip) of one DICOM series each."""
    labels: tuple[Path, ...] = Field(min_length=1, examples=[["a_label.nii.gz", "b_label.nii.gz"]])
    """Their label maps, in the same order, each on the grid of its scan."""
    model: Path = Field(examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS."""
    output: Path = Field(examples=["liver.task"])
    """Task file to write."""
    structures: Structures = None
    """Name and label value of the structures; by default from dataset.json, else from the headers
    of the labels, else all label values."""
    colours: dict[str, CssColour] | None = Field(default=None, examples=[{"liver": "#dd8265"}])
    """Colours of structures in results and on pages; by default from the headers of the labels,
    else colours that are easy to distinguish."""
    tune: bool = True
    """Tune a head on every reference, which gives the largest gain. On by default; 0 turns it
    off."""
    tuning: TuningConfig = TuningConfig()
    """How heads are tuned."""
    license: str | None = Field(default=None, max_length=10_000, examples=["CC-BY-4.0"])
    """Terms of use, stored in the task file."""
    label_maps: LabelMaps = False
    device: Device = "auto"


class TaskDice(NamedTuple):
    """Of a structure, means over references that show it; None where there is none."""

    itself: float | None  # each reference as its own query
    others: float | None  # each by all others
    affine: float | None  # likewise by affine registrations alone

    @property
    def no_better(self) -> bool:
        """Whether registrations alone do as well as the task."""
        return self.others is not None and self.affine is not None and self.others <= self.affine


@dataclass(frozen=True)
class TaskReport(Report):
    """What a task file holds."""

    path: Path
    structures: dict[str, int]
    references: tuple[str, ...]
    fingerprint: str
    dice: dict[str, TaskDice]  # by structure
    unnamed: tuple[int, ...] = ()  # label values that no structure names, hence not learned
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people, and a line for each structure."""
        structures = counted(len(self.structures), "structure")
        first = (
            f"Task of {structures} ({', '.join(self.structures)}) from "
            f"{counted(len(self.references), 'reference')} in {self.path}."
        )
        values = ", ".join(map(str, self.unnamed))
        unnamed = f" Label values without a name are background: {values}." if values else ""
        odd = warnings_told(self.warnings)
        return "\n".join([first + unnamed + odd, *self._lines()])

    def _lines(self) -> Iterator[str]:
        yield "Dice of each reference, segmented from itself" + (
            ", from the others, and by affine registration of the others:"
            if len(self.references) > 1
            else " (what cannot be reproduced will not be found in other scans):"
        )
        width = max(map(len, self.dice))
        for name, dice in self.dice.items():
            parts = [dice.itself] if len(self.references) == 1 else list(dice)
            numbers = "  ".join("  -  " if one is None else f"{one:.3f}" for one in parts)
            worse = "  no better than an affine registration" if dice.no_better else ""
            yield f"  {name:<{width}}  {numbers}{worse}"


def run(config: TaskConfig) -> TaskReport:
    """Encode the references. Raises `DataError` when a structure is in none of them."""
    if len(config.images) != len(config.labels):
        raise ConfigError(
            "task",
            found=f"{len(config.images)} images and {len(config.labels)} labels",
            expected="one label per image, in the same order",
            fix="Give one label for each image.",
            setting="labels",
        )
    record = record_of(config.output)
    given = (*config.images, *config.labels, config.model)
    require_own_file(config.output, "task", inputs=given)
    require_own_folder(record, "task", inputs=given)
    keep_freed_memory()
    segmenter = Segmenter.load(config.model, device=config.device)
    require_matching(segmenter.trained)  # before scans are read
    images = [read_volume(path) for path in config.images]
    for image in images:
        require_scan(image, label_maps=config.label_maps)
    labels = [
        read_label(path, like=image) for path, image in zip(config.labels, images, strict=True)
    ]
    files = made_of(config.images, config.labels)
    values = values_in(labels)
    structures = config.structures or named_structures(config.labels, values)
    colours = chosen_colours(config.colours, structures, config.labels)
    folders = dict.fromkeys(path.parent for path in config.labels)
    ignored = {*map(read_ignored, folders)} - {*structures.values()}
    unnamed = tuple(sorted(values - {*structures.values(), *ignored}))
    names = [case_id_of(path) for path in config.images]
    spacing_mm = segmenter.trained.preparation.spacing_mm
    odd = (*same_scans(names, files), *odd_labels(labels, structures, ignored, spacing_mm))
    tell_all(odd)  # before the seconds of tuning
    task = segmenter.task(
        images,
        labels,
        structures,
        references=names,
        tuning=config.tuning if config.tune else None,
    )
    task = replace(task.with_files(files), colours=colours, license=config.license or "")
    saved = save_task(task, config.output, run=config.model)
    dice = _dice(saved)
    told = {name: one._asdict() for name, one in dice.items()}
    facts = {"fingerprint": saved.fingerprint, "unnamed_values": list(unnamed)}
    write_provenance(record, "task", config, dice=told, **facts)
    return TaskReport(
        config.output,
        dict(saved.structures),
        saved.reference_names,
        saved.fingerprint,
        dice,
        unnamed,
        (*doubts_about(config.model, segmenter.trained), *odd),
    )


def _dice(task: Task) -> dict[str, TaskDice]:
    """What the references say about each structure."""
    assert task.oneshot is not None, "a task that was just made"
    said = task.oneshot.evidence
    nothing = (None,) * len(task.structures)
    columns = (said.itself, said.others or nothing, said.affine or nothing)
    rows = zip(*columns, strict=True)
    return {name: TaskDice(*row) for name, row in zip(task.structures, rows, strict=True)}
