"""`mass3d evaluate`: score segmentations against true label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveFloat
from rich.console import Console

from mass3d.config import Config, Regions, Scheduler, Seed, Workers
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.summary import write_provenance
from mass3d.io.datasets.dataset_json import read_targets
from mass3d.io.datasets.predictions import (
    Prediction,
    find_both,
    labels_without_prediction,
    require_folders,
)
from mass3d.io.datasets.regions import Targets, targets_of
from mass3d.metrics.cases import (
    Absent,
    by_case,
    labelled_values,
    structure_scores,
    unnamed_values,
)
from mass3d.metrics.cases import Table as Scores
from mass3d.metrics.scores import Metric, metrics_of
from mass3d.metrics.statistics import bootstrap_mean_of_means
from mass3d.pages.evaluate import MAX_PICTURES, worst_cases
from mass3d.pages.result_pictures import compared_uri
from mass3d.pages.score_files import write_scores
from mass3d.pages.score_tables import structures_tables
from mass3d.pages.viewed import scans_beside, write_compared
from mass3d.pages.volumes import MAX_CASES
from mass3d.transfer.evaluation.comparison import Compared
from mass3d.transfer.evaluation.counting import CountedFolder, Pairs, compared_folders
from mass3d.transfer.evaluation.names import (
    LABELS,
    OTHERS,
    RESULTS,
    names_in_headers,
    odd_names,
    tables_in_headers,
)
from mass3d.transfer.evaluation.report import Evaluated
from mass3d.transfer.results import structures_of_results

TOLERANCE_MM = 2.0


class EvaluateConfig(Config):
    """Settings of `mass3d evaluate`."""

    predictions: Path = Field(examples=["found"])
    """Folder of segmentations, one file per case, searched to any depth."""
    labels: Path = Field(examples=["labels"])
    """Folder of true label maps, named like the predictions; it may contain more cases."""
    output: Path = Field(examples=["scores"])
    """Folder for metrics.json, tables and evaluate.html."""
    seed: Seed = 0
    structures: Regions = None
    """Name and label value of what to score, or all values of a region; by default from
    dataset.json beside the labels, else those of the segmentation, else from the headers of the
    label maps, else all label values."""
    absent: Absent = "skip"
    """What to do where the label of a case lacks a structure: `skip` does not score it there, as it
    may not have been annotated; `score` gives Dice 0 to any prediction of it."""
    surface: bool = False
    """Compute surface metrics, too: NSD, HD95 and ASD; about a second for a large structure."""
    tolerance_mm: PositiveFloat | None = Field(default=None, examples=[1.0])
    """Tolerance of NSD in mm; 2 mm with `surface`; if given, surface metrics are computed."""
    lesions: bool = False
    """Compute lesion metrics, too: a lesion is a connected component of a structure; reported are
    the fraction found and the number of false ones."""
    lesion_overlap: float = Field(default=0.0, ge=0, le=1)
    """Fraction of a lesion's voxels that must overlap with the other side, at least one voxel: for
    a true lesion to count as found, for a predicted one not to count as false."""
    against: Path | None = Field(default=None, examples=["others"])
    """Folder of other segmentations of the same cases, to compare with."""
    workers: Workers = None
    scheduler: Scheduler = None

    @property
    def tolerance(self) -> float | None:
        """In mm; None where surfaces are not scored."""
        return self.tolerance_mm or (TOLERANCE_MM if self.surface else None)

    @property
    def overlap(self) -> float | None:
        """Of lesions; None where they are not counted."""
        return self.lesion_overlap if self.lesions else None

    @property
    def metrics(self) -> dict[str, Metric]:
        """What is scored, by name."""
        return metrics_of(surface=self.tolerance is not None, lesions=self.lesions)


class EvaluateReport(Evaluated):
    """How good the predictions are."""

    def show(self, console: Console) -> None:
        """The table of structures, the summary and every fault."""
        console.print(*structures_tables(self.structures))
        super().show(console)


def run(config: EvaluateConfig) -> EvaluateReport:
    """Score every prediction; one that cannot be scored becomes a fault and the others go on.

    Cases whose label has no prediction are listed and are no fault. With other predictions to
    compare with, these are scored, too, and both compared on the cases that both have. Raises
    `ConfigError` when a folder is missing or is given twice, `DataError` when two predictions are
    of one case, dataset.json cannot be read, names contradict, or there is nothing to score.
    """
    folders = {"predictions": config.predictions, "labels": config.labels}
    folders |= {"against": config.against} if config.against else {}
    require_folders(folders)
    require_own_folder(config.output, "evaluate", inputs=folders.values())
    targets = targets_of(config.structures) if config.structures else read_targets(config.labels)
    targets = targets or structures_of_results(config.predictions) or Targets({})
    files, others = find_both(config.predictions, config.against, config.labels)
    pairs = _pairs(config, files, targets)
    drawn = len(files) <= MAX_PICTURES  # of more cases only the worst, when they are known
    ours = pairs.count(draw=compared_uri if drawn else None)
    theirs = _pairs(config, others, targets).count() if others is not None else None
    odd = _odd_names(config, targets, ours, theirs)
    structures = targets.values or names_in_headers(ours, theirs) or labelled_values(ours.cases)
    tables = ours.scored(structures, config.metrics, config.absent, where=config.predictions)
    means = {name: bootstrap_mean_of_means(one, seed=config.seed) for name, one in tables.items()}
    report = EvaluateReport(
        output=config.output,
        scores={name: by_case(table, ours.found, structures) for name, table in tables.items()},
        mean=means["dice"],
        means=means,
        structures=structure_scores(ours.cases, structures, tables, seed=config.seed),
        labels_without_prediction=labels_without_prediction(config.labels, ours.predicted),
        unnamed=unnamed_values(ours.cases, structures),
        comparison=_compared(config, (ours, theirs), tables, structures) if theirs else None,
        faults=(*ours.faults, *(theirs.faults if theirs else ())),
        warnings=odd,
    )
    worst, names = worst_cases(report.dice, MAX_PICTURES), report.values
    pictures = {name: one.picture for name, one in ours.found.items()}
    scans = scans_beside(config.predictions, config.labels)
    _write(
        config,
        report,
        ours,
        targets=targets,
        pictures=pictures if drawn else pairs.draw(worst, compared_uri),
        volumes=write_compared(config.output, pairs, worst[:MAX_CASES], scans, names),
    )
    return report


def _odd_names(
    config: EvaluateConfig, targets: Targets, *counted: CountedFolder | None
) -> tuple[str, ...]:
    """What is to be told of names, where they are not chosen."""
    if config.structures or targets.regions:
        return ()
    others = {OTHERS: config.against} if config.against else {}
    places = {RESULTS: config.predictions, LABELS: config.labels, **others}
    return odd_names(targets.values, places, tables_in_headers(*counted))


def _pairs(config: EvaluateConfig, files: Mapping[str, Prediction], targets: Targets) -> Pairs:
    asked, where = (config.tolerance, config.overlap), (config.workers, config.scheduler)
    return Pairs(files, *asked, targets.by_value, *where)


def _compared(
    config: EvaluateConfig,
    folders: tuple[CountedFolder, CountedFolder],
    tables: Mapping[str, Scores],
    structures: Mapping[str, int],
) -> Compared:
    assert config.against is not None, "what has just been scored"
    names = (config.predictions.name, config.against.name)
    return compared_folders(
        *folders, tables, structures, absent=config.absent, names=names, seed=config.seed
    )


def _write(
    config: EvaluateConfig,
    report: EvaluateReport,
    ours: CountedFolder,
    *,
    targets: Targets,
    pictures: Mapping[str, str],
    volumes: Mapping[str, str],
) -> None:
    told = targets.plain() if targets.regions else report.values
    write_provenance(config.output, "evaluate", config, structures=told)
    facts: dict[str, Any] = {
        "absent": config.absent,
        "tolerance_mm": config.tolerance,
        "lesion_overlap": config.overlap,
        "unnamed_values": {str(value): asdict(seen) for value, seen in report.unnamed.items()},
        **({"regions": targets.plain()} if targets.regions else {}),
    }
    write_scores(
        report,
        cases=ours.cases,
        pictures=pictures,
        volumes=volumes,
        facts=facts,
    )
