"""`mass3d evaluate`: score segmentations against true label maps."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, TypeAdapter, ValidationError
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
from mass3d.io.colours import value_colours
from mass3d.io.datasets.cohort import find_label, label_maps
from mass3d.io.datasets.dataset_json import read_ignored, read_structures
from mass3d.io.datasets.label_names import common_names, label_names
from mass3d.io.names import SUFFIXES, case_id_of
from mass3d.io.read import read_grid, read_label
from mass3d.metrics.overlap import Overlap, label_overlaps
from mass3d.metrics.scores import METRICS, Score, Seen, metrics_of
from mass3d.metrics.statistics import Interval, bootstrap_mean, bootstrap_mean_of_means, rounded
from mass3d.metrics.surface import UNSCORED, SurfaceScores, surface_scores
from mass3d.pages.evaluate import PAGE, StructureRow, write_evaluate_page
from mass3d.pages.pictures import jpeg_uri
from mass3d.pages.result_pictures import compared_picture
from mass3d.volume.volume import Volume

FILE = "metrics.json"
CASES = "cases.csv"
SIZES: Final = ("truth_voxels", "prediction_voxels", "truth_ml", "prediction_ml")  # of cases.csv
NOTHING: Final = Overlap(0, 0, 0)
NAMED: Final[TypeAdapter[dict[str, int] | None]] = TypeAdapter(Structures)
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
    else those of the segmentation, else as headers of label maps name them, else all values in
    the labels."""
    absent: Absent = "skip"
    """A structure that the label of a case lacks: `skip` does not score it there, for it may not
    have been contoured; `score` gives Dice 0 to whatever is predicted there."""
    surface: bool = False
    """Score surfaces, too: NSD, HD95 and ASD, which takes about a second for a large structure."""
    tolerance_mm: PositiveFloat = Field(default=2.0, examples=[1.0])
    """For NSD, with `surface`: how far from the true surface a predicted one may lie."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class StructureDice:
    """Dice of one structure over the cases in which it was scored."""

    value: int
    dice: Interval
    n: int  # scored cases
    seen: Seen
    others: dict[str, Interval]  # the further metrics, by name


@dataclass(frozen=True)
class EvaluateReport(Report):
    """How good the predictions are."""

    output: Path
    scores: dict[str, dict[str, dict[str, float]]]
    """metric -> case -> structure -> score; unscored ones left out"""
    mean: Interval  # of Dice: mean over structures of their means over cases
    means: dict[str, Interval]  # likewise of every metric
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
        if "nsd" in self.scores:
            console.print(self._surfaces())
        super().show(console)

    def _surfaces(self) -> Table:
        """A row for each structure."""
        names = [name for name, metric in METRICS.items() if metric.surface]
        first = Column("structure", overflow="fold")
        table = Table(first, *(METRICS[name].label for name in names), box=SIMPLE_HEAD)
        for name, found in self.structures.items():
            means = [(found.others[one].mean, METRICS[one].digits) for one in names]
            table.add_row(Text(name), *(f"{mean:.{digits}f}" for mean, digits in means))
        return table


@dataclass(frozen=True)
class _Job:
    prediction: Path
    label: Path | None
    labels: Path  # the folder in which the label was looked for
    ignored: int | None  # the value of voxels that nobody has annotated
    tolerance_mm: float | None  # None: surfaces are not scored


@dataclass(frozen=True)
class _Counted:
    overlaps: dict[int, Overlap]
    surfaces: dict[int, SurfaceScores]
    voxel_ml: float
    picture: str  # `data:` address
    named: dict[Path, dict[str, int]]  # what the headers of both files call their values

    def score(self, value: int) -> Score:
        """What is known of a label value."""
        overlap, surface = self.overlaps.get(value, NOTHING), self.surfaces.get(value, UNSCORED)
        return Score(overlap, self.voxel_ml, surface)


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
    structures = named or _own_names(cases) or _labelled_values(cases)
    tables = _score_tables(cases, structures, config)
    _require_scored(config, tables["dice"], faults)
    means = {name: bootstrap_mean_of_means(one, seed=config.seed) for name, one in tables.items()}
    report = EvaluateReport(
        output=config.output,
        scores={metric: _by_case(found, cases, structures) for metric, found in tables.items()},
        mean=means["dice"],
        means=means,
        structures={
            name: _structure(config, cases, value, {m: t[:, number] for m, t in tables.items()})
            for number, (name, value) in enumerate(structures.items())
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
            config.tolerance_mm if config.surface else None,
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
        bytes_each=comparing_bytes(sizes, surfaces=config.surface),
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
    surfaces = {} if job.tolerance_mm is None else _surfaces(prediction, truth, overlaps, job)
    named = {path: label_names(path) for path in (job.label, job.prediction)}
    return _Counted(overlaps, surfaces, truth.grid.voxel_ml, jpeg_uri(picture), named)


def _surfaces(
    prediction: Volume, truth: Volume, values: Iterable[int], job: _Job
) -> dict[int, SurfaceScores]:
    """Scores of surfaces of every value; voxels that nobody has annotated belong to none."""
    assert job.tolerance_mm is not None
    annotated = np.True_ if job.ignored is None else truth.voxels != job.ignored
    return {
        value: surface_scores(
            (prediction.voxels == value) & annotated,
            (truth.voxels == value) & annotated,
            truth.spacing_mm,
            tolerance_mm=job.tolerance_mm,
        )
        for value in values
    }


# --- scores ---------------------------------------------------------------------------------


def _own_names(cases: _Cases) -> dict[str, int] | None:
    """The structures as headers of label maps name them. Raises `DataError` where they differ."""
    tables = {path: names for case in cases.values() for path, names in case.named.items()}
    return common_names(tables, {value for case in cases.values() for value in case.overlaps})


def _labelled_values(cases: _Cases) -> dict[str, int]:
    """The structures where nothing names them: every value of any label, called by itself."""
    values = {v for case in cases.values() for v, found in case.overlaps.items() if found.truth}
    return {str(value): value for value in sorted(values)}


def _score_tables(
    cases: _Cases, structures: Mapping[str, int], config: EvaluateConfig
) -> dict[str, NDArray[np.float64]]:
    """Metric -> (cases, structures): NaN where a structure is not scored in a case."""
    metrics = metrics_of(surface=config.surface)
    tables = {name: np.full((len(cases), len(structures)), math.nan) for name in metrics}
    for row, case in enumerate(cases.values()):
        for column, value in enumerate(structures.values()):
            score = case.score(value)
            both = score.overlap.truth + score.overlap.predicted
            if score.overlap.truth or (both and config.absent == "score"):
                for name, metric in metrics.items():
                    tables[name][row, column] = metric.of(score)
    return tables


def _structure(
    config: EvaluateConfig,
    cases: _Cases,
    value: int,
    scores: Mapping[str, NDArray[np.float64]],  # metric -> (cases,)
) -> StructureDice:
    found = {name: bootstrap_mean(column, seed=config.seed) for name, column in scores.items()}
    dice = found.pop("dice")
    n = int(np.isfinite(scores["dice"]).sum())
    return StructureDice(value, dice, n, _seen(cases, value), found)


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
    write_json(config.output / FILE, _metrics(config, report))
    write_evaluate_page(
        config.output / PAGE,
        mean=report.mean,
        structures=[
            StructureRow(
                name,
                found.value,
                found.dice,
                found.n,
                found.seen,
                tuple((METRICS[one], mean.mean) for one, mean in found.others.items()),
            )
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
            **report.mean.plain("dice"),
            "n": sum(map(bool, report.dice.values())),
        },
        "metrics": {name: mean.plain() for name, mean in report.means.items()},
        "structures": {
            name: {
                "value": found.value,
                "dice": {**found.dice.plain(), "n": found.n},
                **{name: interval.plain() for name, interval in found.others.items()},
                **asdict(found.seen),
            }
            for name, found in report.structures.items()
        },
        "absent": config.absent,
        "tolerance_mm": config.tolerance_mm if config.surface else None,
        "labels_without_prediction": {"n": len(missing), "cases": list(missing)},
        "unnamed_values": {str(value): asdict(seen) for value, seen in report.unnamed.items()},
        "faults": [asdict(fault) for fault in report.faults],
    }


def _case_rows(report: EvaluateReport, cases: _Cases) -> str:
    """One row per case and structure, as CSV; an empty score was not scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "structure", *report.scores, *SIZES))
    for case, scored in cases.items():
        for name, found in report.structures.items():
            overlap = scored.overlaps.get(found.value, NOTHING)
            voxels = (overlap.truth, overlap.predicted)
            scores = (rounded(one[case].get(name, math.nan)) for one in report.scores.values())
            millilitres = (round(count * scored.voxel_ml, 4) for count in voxels)
            writer.writerow((case, name, *scores, *voxels, *millilitres))
    return text.getvalue()
