"""`mass3d evaluate`: score segmentations against true label maps."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mass3d.config import Config, Scheduler, Seed, Structures, Workers
from mass3d.errors import ConfigError, DataError, Mass3dError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import comparing_bytes
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import real, write_json, write_text
from mass3d.io.datasets.cohort import find_label, label_maps
from mass3d.io.datasets.dataset_json import read_ignored, read_structures
from mass3d.io.names import SUFFIXES, case_id_of
from mass3d.io.read import read_grid, read_label
from mass3d.metrics.overlap import Overlap, label_overlaps
from mass3d.metrics.statistics import Interval, bootstrap_mean, bootstrap_mean_of_means
from mass3d.pages.evaluate import PAGE, StructureRow, write_evaluate_page
from mass3d.pages.pictures import jpeg_uri, value_colours
from mass3d.pages.result_pictures import compared_picture

METRICS = "metrics.json"
CASES = "cases.csv"
COLUMNS: Final = (
    "case",
    "structure",
    "dice",
    "truth_voxels",
    "prediction_voxels",
    "truth_ml",
    "prediction_ml",
)
NOTHING: Final = Overlap(0, 0, 0)
# The first axis of every table of scores: another metric of overlap is one more line here.
SCORES: Final[dict[str, Callable[[Overlap], float]]] = {"dice": attrgetter("dice")}
NAMED: Final[TypeAdapter[dict[str, int] | None]] = TypeAdapter(Structures)
DIGITS = 6  # of a Dice in files
POOL_VOXELS = 3e8  # fewer voxels are counted here before a second process would have started

Absent = Literal["skip", "score"]


class EvaluateConfig(Config):
    """Settings of `mass3d evaluate`."""

    predictions: Path = Field(examples=["found"])
    """Folder of segmentations, one file per case, searched to any depth."""
    labels: Path = Field(examples=["labels"])
    """Folder of true label maps, named like the predictions; it may hold more cases."""
    output: Path = Field(examples=["scores"])
    """Folder for metrics.json, cases.csv and evaluate.html."""
    seed: Seed = 0
    structures: Structures = None
    """Name and label value of what to score; by default those of dataset.json beside the labels,
    else those of the segmentation, else all values in the labels."""
    absent: Absent = "skip"
    """A structure that the label of a case lacks: `skip` does not score it there, for it may not
    have been contoured; `score` gives Dice 0 to whatever is predicted there."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class Seen:
    """In how many cases a label value was where."""

    n_labelled: int  # in the label
    n_predicted: int  # in the prediction
    n_missed: int  # in the label, not in the prediction
    n_extra: int  # in the prediction, not in the label

    @classmethod
    def of(cls, overlaps: Iterable[Overlap]) -> Seen:
        """Counts over the cases of one value."""
        cases = [(overlap.truth > 0, overlap.predicted > 0) for overlap in overlaps]
        return cls(
            n_labelled=sum(truth for truth, _ in cases),
            n_predicted=sum(predicted for _, predicted in cases),
            n_missed=cases.count((True, False)),
            n_extra=cases.count((False, True)),
        )


@dataclass(frozen=True)
class StructureDice:
    """Dice of one structure over the cases in which it was scored."""

    value: int
    dice: Interval
    n: int  # scored cases
    seen: Seen


@dataclass(frozen=True)
class EvaluateReport(Report):
    """How good the predictions are."""

    output: Path
    scores: dict[str, dict[str, dict[str, float]]]
    """metric -> case -> structure -> score; unscored ones left out"""
    mean: Interval  # mean over structures of their means over cases
    structures: dict[str, StructureDice]
    labels_without_prediction: tuple[str, ...]  # cases
    unnamed: dict[int, Seen]  # label values that no structure names, hence not scored
    faults: tuple[Fault, ...] = ()

    @property
    def dice(self) -> dict[str, dict[str, float]]:
        """case -> structure -> Dice; unscored ones left out."""
        return self.scores["dice"]

    def summary(self) -> str:
        """One paragraph for people."""
        return f"{self.told(f', in {self.output}')} Look at {self.output / PAGE}."

    def told(self, place: str = "") -> str:
        """What came of it; nothing of where, but for the words of `place`."""
        scored = sum(map(bool, self.dice.values()))
        structures = sum(found.n > 0 for found in self.structures.values())
        missing = len(self.labels_without_prediction)
        unnamed = ", ".join(str(value) for value in self.unnamed)
        return (
            f"Mean Dice {self.mean.in_words()} over {counted(structures, 'structure')} "
            f"in {counted(scored, 'case')}{place}."
            + (f" {counted(missing, 'label')} without a prediction." if missing else "")
            + (f" Label values without a name were not scored: {unnamed}." if unnamed else "")
            + (
                f" {counted(len(self.faults), 'prediction')} could not be scored."
                if self.faults
                else ""
            )
        )

    def show(self, console: Console) -> None:
        """The table of structures, the summary and every fault."""
        first = Column("structure", overflow="fold"), Column("Dice", no_wrap=True)
        counted_in = ("scored", "labelled", "predicted", "missed", "extra")
        table = Table(*first, *counted_in, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name, found in self.structures.items():
            counts = (found.n, *asdict(found.seen).values())
            table.add_row(Text(name), Text(found.dice.in_words()), *map(str, counts))
        console.print(table)
        super().show(console)


@dataclass(frozen=True)
class _Job:
    prediction: Path
    label: Path | None
    labels: Path  # the folder in which the label was looked for
    ignored: int | None  # the value of voxels that nobody has annotated


@dataclass(frozen=True)
class _Counted:
    overlaps: dict[int, Overlap]
    voxel_ml: float
    picture: str  # `data:` address


_Cases = Mapping[str, _Counted]


def run(config: EvaluateConfig) -> EvaluateReport:
    """Score every prediction; one that cannot be scored becomes a fault and the others go on.

    Cases whose label has no prediction are listed and are no fault. Raises `ConfigError` when a
    folder is missing or is given twice, `DataError` when two predictions are of one case,
    dataset.json cannot be read, or there is nothing to score.
    """
    _require_folders(config)
    require_own_folder(config.output, "evaluate", inputs=(config.predictions, config.labels))
    named = (
        config.structures or read_structures(config.labels) or _named_by_segment(config.predictions)
    )
    jobs = _jobs(config)
    outcomes = _count_all(config, jobs)
    cases = {name: found for name, found in outcomes.items() if isinstance(found, _Counted)}
    faults = faults_of(outcomes)
    structures = named or _labelled_values(cases)
    tables = _score_tables(cases, structures, absent=config.absent)
    table = tables["dice"]
    _require_scored(config, table, faults)
    report = EvaluateReport(
        output=config.output,
        scores={metric: _by_case(found, cases, structures) for metric, found in tables.items()},
        mean=bootstrap_mean_of_means(table, seed=config.seed),
        structures={
            name: StructureDice(
                value,
                bootstrap_mean(scores, seed=config.seed),
                int(np.isfinite(scores).sum()),
                _seen(cases, value),
            )
            for (name, value), scores in zip(structures.items(), table.T, strict=True)
        },
        labels_without_prediction=_labels_without_prediction(config.labels, jobs),
        unnamed=_unnamed(cases, structures),
        faults=faults,
    )
    _write(config, report, cases)
    return report


# --- which files ----------------------------------------------------------------------------


def _require_folders(config: EvaluateConfig) -> None:
    for setting, folder in (("predictions", config.predictions), ("labels", config.labels)):
        if not folder.is_dir():
            raise ConfigError(
                setting,
                found=f"{folder}, which is not a folder",
                expected="a folder of label maps",
                fix="Check the path.",
            )
    if real(config.predictions) == real(config.labels):
        raise ConfigError(
            "labels",
            found=f"{config.labels}, which is also the folder of predictions",
            expected="true label maps in a folder of their own",
            fix="Check the paths.",
        )


def _named_by_segment(folder: Path) -> dict[str, int] | None:
    """The structures that `segment` looked for, by value; None where it wrote nothing here."""
    try:
        named = NAMED.validate_python(earlier_record(folder).get("structures"))
    except ValidationError:
        return None
    return dict(sorted(named.items(), key=itemgetter(1))) if named else None


def _jobs(config: EvaluateConfig) -> dict[str, _Job]:
    """Case -> its two files; nnU-Net's `_0000` may end the name of either."""
    ignored = read_ignored(config.labels)
    return {
        name: _Job(
            prediction,
            find_label(config.labels, name) or find_label(config.labels, f"{name}_0000"),
            config.labels,
            ignored,
        )
        for name, prediction in label_maps(config.predictions).items()
    }


def _labels_without_prediction(labels: Path, jobs: Mapping[str, _Job]) -> tuple[str, ...]:
    names = {
        case_id_of(file)
        for file in labels.iterdir()
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")
    }
    return tuple(sorted(names - set(jobs)))


# --- counting voxels ------------------------------------------------------------------------


def _count_all(config: EvaluateConfig, jobs: Mapping[str, _Job]) -> dict[str, _Counted | Fault]:
    sizes = [_voxels(job.label) for job in jobs.values() if job.label]
    here = 1 if sum(sizes) < POOL_VOXELS and config.scheduler is None else None
    return run_cases(
        _count,
        jobs,
        workers=config.workers or here,
        scheduler=config.scheduler,
        title="evaluate",
        bytes_each=comparing_bytes(sizes),
    )


def _voxels(label: Path) -> int:
    """Voxels by the header; 0 where it cannot be read, which becomes a fault later."""
    try:
        return math.prod(read_grid(label).grid.shape)
    except (Mass3dError, OSError):
        return 0


def _count(job: _Job) -> _Counted:
    """Overlap of every label value of a case."""
    if job.label is None:
        name = case_id_of(job.prediction)
        raise DataError(
            job.prediction,
            found="a prediction without a label",
            expected=f"{name}.nii.gz, or another readable format, in {job.labels}",
            fix="Add the label, or take the prediction out of its folder.",
        )
    truth = read_label(job.label)
    prediction = read_label(job.prediction, like=truth)
    overlaps = label_overlaps(prediction.voxels, truth.voxels, ignored=job.ignored)
    picture = compared_picture(
        prediction.voxels,
        truth.voxels,
        truth.spacing_mm,
        value_colours(overlaps),
        ignored=job.ignored,
    )
    return _Counted(overlaps, truth.grid.voxel_ml, jpeg_uri(picture))


# --- scores ---------------------------------------------------------------------------------


def _labelled_values(cases: _Cases) -> dict[str, int]:
    """The structures where nothing names them: every value of any label, called by itself."""
    values = {v for case in cases.values() for v, found in case.overlaps.items() if found.truth}
    return {str(value): value for value in sorted(values)}


def _score_tables(
    cases: _Cases, structures: Mapping[str, int], *, absent: Absent
) -> dict[str, NDArray[np.float64]]:
    """Metric -> (cases, structures): NaN where a structure is not scored in a case."""
    tables = {metric: np.full((len(cases), len(structures)), math.nan) for metric in SCORES}
    for row, case in enumerate(cases.values()):
        for column, value in enumerate(structures.values()):
            overlap = case.overlaps.get(value, NOTHING)
            if overlap.truth or absent == "score":
                for metric, score in SCORES.items():
                    tables[metric][row, column] = score(overlap)
    return tables


def _require_scored(
    config: EvaluateConfig, table: NDArray[np.float64], faults: tuple[Fault, ...]
) -> None:
    if np.isfinite(table).any():
        return
    first = f", the first: {faults[0].message}" if faults else ""
    raise DataError(
        config.predictions,
        found=f"nothing to score in {len(table)} cases, {len(faults)} faults{first}",
        expected="at least one prediction whose label shows a structure",
        fix="Check that the folders belong together, and the values of the structures.",
    )


def _by_case(
    table: NDArray[np.float64], cases: _Cases, structures: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    return {
        case: {
            name: float(score)
            for name, score in zip(structures, row, strict=True)
            if not math.isnan(score)
        }
        for case, row in zip(cases, table, strict=True)
    }


def _seen(cases: _Cases, value: int) -> Seen:
    return Seen.of(case.overlaps.get(value, NOTHING) for case in cases.values())


def _unnamed(cases: _Cases, structures: Mapping[str, int]) -> dict[int, Seen]:
    values = {value for case in cases.values() for value in case.overlaps}
    return {value: _seen(cases, value) for value in sorted(values - set(structures.values()))}


# --- files ----------------------------------------------------------------------------------


def _write(config: EvaluateConfig, report: EvaluateReport, cases: _Cases) -> None:
    names = {name: found.value for name, found in report.structures.items()}
    write_provenance(config.output, "evaluate", config, structures=names)
    write_text(config.output / CASES, _case_rows(report, cases))
    write_json(config.output / METRICS, _metrics(config, report))
    write_evaluate_page(
        config.output / PAGE,
        mean=report.mean,
        structures=[
            StructureRow(name, found.value, found.dice, found.n, *asdict(found.seen).values())
            for name, found in report.structures.items()
        ],
        dice=report.dice,
        pictures={name: case.picture for name, case in cases.items()},
        summary=report.told(),
        without_prediction=report.labels_without_prediction,
        faults=report.faults,
    )


def _metrics(config: EvaluateConfig, report: EvaluateReport) -> dict[str, Any]:
    missing = report.labels_without_prediction
    return {
        "mean": {
            "dice": _rounded(report.mean.mean),
            "ci95": _ends(report.mean),
            "n": sum(map(bool, report.dice.values())),
        },
        "structures": {
            name: {
                "value": found.value,
                "dice": {
                    "mean": _rounded(found.dice.mean),
                    "ci95": _ends(found.dice),
                    "n": found.n,
                },
                **asdict(found.seen),
            }
            for name, found in report.structures.items()
        },
        "absent": config.absent,
        "labels_without_prediction": {"n": len(missing), "cases": list(missing)},
        "unnamed_values": {str(value): asdict(seen) for value, seen in report.unnamed.items()},
        "faults": [asdict(fault) for fault in report.faults],
    }


def _ends(interval: Interval) -> list[float | None] | None:
    """[low, high], or None where too few cases were scored."""
    return None if math.isnan(interval.low) else [_rounded(interval.low), _rounded(interval.high)]


def _rounded(value: float) -> float | None:
    """As it is written: JSON has no NaN, and sums may differ in their last bits."""
    return None if math.isnan(value) else round(value, DIGITS)


def _case_rows(report: EvaluateReport, cases: _Cases) -> str:
    """One row per case and structure, as CSV; an empty Dice was not scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, scored in cases.items():
        for name, found in report.structures.items():
            overlap = scored.overlaps.get(found.value, NOTHING)
            voxels = (overlap.truth, overlap.predicted)
            score = _rounded(report.dice[case].get(name, math.nan))
            millilitres = (round(count * scored.voxel_ml, 4) for count in voxels)
            writer.writerow((case, name, score, *voxels, *millilitres))
    return text.getvalue()
