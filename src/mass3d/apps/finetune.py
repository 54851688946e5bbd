"""`mass3d finetune`: train a pretrained network on with labels; it then segments without a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from mass3d.config import Config, Device, Seed, Structures
from mass3d.device import choose_device
from mass3d.errors import ModelError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.progress import progress
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled
from mass3d.training.resume import is_finished, require_same_run
from mass3d.transfer.finetuned.learn import Began, FinetuneFitConfig, began, learn
from mass3d.transfer.finetuned.scans import (
    Material,
    Number,
    Split,
    fingerprint,
    gather,
    split,
    structures_of,
)
from mass3d.transfer.finetuned.scores import Scores, scores_in
from mass3d.transfer.finetuned.segmenter import Start, load_finetuned
from mass3d.transfer.trained import read_run
from mass3d.views.labelled import LabelledViewConfig

PRETRAINED_SHARE: Final = 0.5  # of the learning rate, for weights that know something


class FinetuneConfig(Config):
    """Settings of `mass3d finetune`."""

    images: tuple[Path, ...] = Field(min_length=1, examples=[["dataset"]])
    """Labelled scans: a dataset in the layout of nnU-Net or another, of which imagesTr is taken
    alone; folders of scans; or files."""
    label_maps: tuple[Path, ...] = Field(default=(), examples=[["labels"]])
    """Folder of label maps that are called as the cases, or one file for each scan, in order; by
    default what the layout of the dataset says."""
    model: Path = Field(examples=["run"])
    """Run folder of the pretrained model."""
    output: Path = Field(examples=["tuned"])
    """Run folder to write."""
    labels: Number = "all"
    """How many labelled scans to learn from: a number, a share such as 10%, or all. A larger
    number adds to what a smaller one has."""
    validation: int | None = Field(default=None, ge=0, examples=[10])
    """Labelled scans that are kept apart and scored at the end; by default a fifth, at most ten,
    and none of fewer than ten."""
    start: Start = "pretrained"
    """Weights to begin with; with scratch, everything else stays the same."""
    structures: Structures = None
    """Name and label value of the structures; by default those of dataset.json or of files of
    masks, else all values in the labels."""
    partial: bool = False
    """Structures that a label map does not show at all may be in the scan all the same."""
    trunk_share: float | None = Field(default=None, ge=0, le=1, examples=[0.5])
    """Share of the learning rate that all but the new head has; by default a half, and all of it
    from scratch."""
    seed: Seed = 0
    resume: bool = False
    """Go on with an interrupted run, and refuse to begin one; without it, do whichever fits."""
    device: Device = "auto"
    fit: FinetuneFitConfig = FinetuneFitConfig()
    """Optimisation."""
    views: LabelledViewConfig = LabelledViewConfig()
    """Crops of the labelled scans."""


@dataclass(frozen=True)
class FinetuneReport(Report):
    """What a finetuning run ended with."""

    run: Path
    structures: dict[str, int]
    training: tuple[str, ...]  # ids of the scans it learned from
    scores: Scores | None  # of the validation scans, if there are any
    began: Began  # what was loaded, and what was fresh
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people, and a line for each oddity."""
        first = (
            f"Finetuned for {counted(len(self.structures), 'structure')} on "
            f"{counted(len(self.training), 'labelled scan')} in {self.run}. {self.began.in_words()}"
        )
        if self.scores is not None and self.scores.mean is not None:
            low, high = self.scores.ci95
            interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
            apart = counted(len(self.scores.cases), "scan")
            first += f" Dice {self.scores.mean:.3f}{interval} on {apart} kept apart."
        return "\n".join([first, *(f"  Warning: {one}." for one in self.warnings)])


def run(config: FinetuneConfig) -> FinetuneReport:
    """Finetune, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Raises
    `DataError` for a bad scan or label, `ModelError` for a bad model, `ConfigError` for impossible
    settings and when the folder holds another run.
    """
    require_own_folder(
        config.output, "finetune", inputs=(*config.images, *config.label_maps, config.model)
    )
    labelled = find_labelled(config.images, config.label_maps)
    parts = split(labelled, config.labels, validation=config.validation, seed=config.seed)
    return run_on(config, parts)


def run_on(config: FinetuneConfig, parts: Split) -> FinetuneReport:
    """`run` on scans that are chosen already; those for validation are scored at the end."""
    keep_freed_memory()
    device = choose_device(config.device)
    structures = structures_of(parts.training, config.structures)
    facts = _facts(config, parts.training, structures)
    first = began(config.model, len(structures), start=config.start)
    warnings: tuple[str, ...] = ()
    if not is_finished(config.output, facts, steps=config.fit.steps, must_resume=config.resume):
        cases, warnings, ranges = _read(config, parts.training, structures)
        config.output.mkdir(parents=True, exist_ok=True)
        with only_writer(config.output, ModelError):
            require_same_run(config.output, facts)  # before its settings are written over
            told = {"structures": structures, "ranges": ranges.plain(), **parts.ids()}
            write_provenance(config.output, "finetune", config, began=first._asdict(), **told)
            with progress("finetune", config.fit.steps) as advance:
                learn(
                    config.output,
                    cases,
                    model=config.model,
                    facts=facts,
                    config=config.fit,
                    views=config.views,
                    device=device,
                    advance=advance,
                )
    ids, scores = parts.ids()["training"], _scores(config, parts)
    return FinetuneReport(config.output, structures, tuple(ids), scores, first, warnings)


def _facts(
    config: FinetuneConfig, training: Sequence[CaseFile], structures: Mapping[str, int]
) -> dict[str, Any]:
    """All that decides the weights."""
    record, _, model = read_run(config.model)
    usual = PRETRAINED_SHARE if config.start == "pretrained" else 1.0
    return {
        "preset": record.preset.plain(),
        "crop_vox": list(config.views.crop_vox or record.crop_vox),
        "preparation": record.preparation.plain(),
        "structures": [[name, value] for name, value in structures.items()],
        "start": config.start,
        "model": model,
        "scans": fingerprint(training),
        "partial": config.partial,
        "trunk_share": usual if config.trunk_share is None else config.trunk_share,
        "seed": config.seed,
        "fit": config.fit.decisive(),
        "views": config.views.plain(),
    }


def _read(
    config: FinetuneConfig, training: Sequence[CaseFile], structures: Mapping[str, int]
) -> Material:
    with progress("read", len(training)) as advance:
        return gather(
            training,
            structures,
            read_run(config.model)[0].preparation,
            partial=config.partial,
            chosen=config.structures is not None,
            advance=advance,
        )


def _scores(config: FinetuneConfig, parts: Split) -> Scores | None:
    """Dice of the validation scans, as it is in the folder or measured now."""
    if not parts.validation:
        return None
    segmenter = load_finetuned(config.output, device=config.device)
    with progress("validate", len(parts.validation)) as advance:
        return scores_in(
            config.output, segmenter, parts.validation, seed=config.seed, advance=advance
        )
