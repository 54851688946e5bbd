"""`mass3d probe`: which labels of whole scans can be read off frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Seed
from mass3d.errors import ConfigError, OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.summary import Report, counted, few, warnings_told, write_provenance
from mass3d.files import only_writer, write_json, write_text
from mass3d.io.datasets.channels import cases_of_channels
from mass3d.io.datasets.cohort import find_cohort
from mass3d.pages.probe import PAGE, verdict, write_probe_page
from mass3d.transfer.frozen.embedding import Embedder
from mass3d.transfer.frozen.folder import EmbeddingsFolder, is_embeddings, made_before
from mass3d.transfer.frozen.probing.folds import require_some
from mass3d.transfer.frozen.probing.labels import (
    Kind,
    Outcome,
    Table,
    Target,
    alike_sentences,
    each_that_can,
    left_out_sentences,
    of_scans,
    read_table,
    require_shared,
    targets_of,
)
from mass3d.transfer.frozen.probing.patients import Patients, no_targets, patients_of
from mass3d.transfer.frozen.probing.probe import Probed, cross_validate, read_sources
from mass3d.transfer.frozen.probing.results import (
    FILE,
    TABLE,
    TargetResult,
    as_csv,
    as_json,
    measured,
)
from mass3d.transfer.frozen.region import load_region, require_task
from mass3d.transfer.frozen.scan import FrozenEncoder
from mass3d.transfer.trained import unfinished

FEATURES = "embeddings"  # the folder of features within that of the results


class ProbeConfig(Config):
    """Settings of `mass3d probe`."""

    inputs: tuple[Path, ...] = Field(min_length=1, examples=[["scans"]])
    """Scans, folders of scans, or .zip archives of DICOM; or one folder written by `embed` with
    `untrained`."""
    labels: Path = Field(examples=["labels.csv"])
    """CSV file with a header: a column of case names, and one column per target."""
    output: Path = Field(examples=["probed"])
    """Folder for metrics.json, predictions.csv and probe.html."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS; not
    needed for features computed before."""
    targets: tuple[str, ...] = ()
    """Columns to predict; by default all but those of cases and patients."""
    case_column: str = "case"
    """Column with the names of the cases."""
    patient_column: str | None = Field(default=None, examples=["subject"])
    """Column that identifies the patient; by default one called `patient`, `subject` or
    `participant` (or `patient_id` and so on), else the BIDS subject in the name of the scan
    (`sub-01`), else the nnU-Net case of which it is a channel, else every scan is a patient."""
    kinds: dict[str, Kind] | None = Field(default=None, examples=[{"grade": "number"}])
    """Target -> `classes` or `number`; by default a column of more than ten different numbers is a
    number."""
    within: Path | None = Field(default=None, examples=["liver.task"])
    """Task file: features are pooled inside what it segments, and compared with radiomics features
    of the same region."""
    structure: str | None = Field(default=None, examples=["liver"])
    """The one structure of that task to use; by default all of them together."""
    folds: int = Field(default=5, ge=2, le=100)
    """Folds of the cross-validation; no patient is in two."""
    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Overlap of neighbouring windows, as a fraction."""
    seed: Seed = 0
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class ProbeReport(Report):
    """How well every target can be predicted."""

    output: Path
    results: dict[str, TargetResult]
    grouped: str  # a sentence: what tells which scans are of one patient
    warnings: tuple[str, ...] = ()  # sentences about cases that were left out
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        found = " ".join(f"{name}: {verdict(result)}" for name, result in self.results.items())
        return f"{self.told()} {found} See {self.output / PAGE}."

    def told(self) -> str:
        """What was done, and what is odd."""
        targets = counted(len(self.results), "target")
        return f"Probed {targets}. {self.grouped}{warnings_told(self.warnings)}"


def run(config: ProbeConfig) -> ProbeReport:
    """Predict every target from frozen features, by cross-validation over patients.

    Scans are embedded first, each once however often the command is given. One that cannot be read
    becomes a fault, and the others go on; so does a target that is the same everywhere, or has a
    class with fewer patients than folds. Raises `DataError` for a table of labels that is none, or
    without a target that can be predicted, `ConfigError` for missing columns and settings that
    clash, `ModelError` for a model that cannot be trusted.
    """
    given = (*config.inputs, config.labels, config.model, config.within)
    require_own_folder(config.output, "probe", inputs=given)
    require_task(config.within, config.structure)
    keep_freed_memory()
    table = read_table(config.labels, case_column=config.case_column)
    patients_of(table, config.patient_column, {})
    _targets(config, table, table.cases)  # refused before the minutes of work
    with only_writer(config.output, OutputError):
        if not earlier_record(config.output):  # a killed command goes on in its own folder
            write_provenance(config.output, "probe", config)
        return _probe(config, *_features(config, table))


def _probe(
    config: ProbeConfig,
    table: Table,
    folder: EmbeddingsFolder,
    cases: Sequence[str],
    faults: tuple[Fault, ...],
) -> ProbeReport:
    require_shared(table, cases)
    failed = {fault.where for fault in faults}
    patients = patients_of(table, config.patient_column, folder.contents(cases))
    targets, refused = _targets(config, table, cases)
    asked = each_that_can(
        {one.name: partial(_ask, config, folder, one, patients) for one in targets}
    )
    probed = asked.found
    faults += tuple(Fault(name, str(error)) for name, error in (refused | asked.refused).items())
    results = {one.target.name: measured(one, seed=config.seed) for one in probed}
    apart = {
        "without_scan": [case for case in table.cases if case not in {*cases, *failed}],
        "without_row": [case for case in cases if case not in patients.of],
    }
    odd = (*unfinished(config.model), *patients.told, *alike_sentences(targets))
    left_out = left_out_sentences(apart, targets)
    warnings = (*few(odd), *left_out)
    report = ProbeReport(config.output, results, patients.how, warnings, faults)
    facts = {
        **apart,
        "seed": config.seed,
        "folds": config.folds,
        "patients": patients.plain(),
        "model": folder.index.model,
        "within": folder.index.within,
        "targets": {name: as_json(result) for name, result in results.items()},
        "warnings": [*odd, *left_out],
        "faults": [fault.plain() for fault in faults],
    }
    write_provenance(config.output, "probe", config)
    write_text(config.output / TABLE, as_csv(probed))
    write_probe_page(
        config.output / PAGE, list(results.values()), probed, summary=report.told(), faults=faults
    )
    write_json(config.output / FILE, facts)
    return report


def _targets(config: ProbeConfig, table: Table, cases: Sequence[str]) -> Outcome[Target]:
    others = no_targets(table, config.patient_column)
    return targets_of(table, cases, named=config.targets, others=others, kinds=config.kinds or {})


def _features(
    config: ProbeConfig, table: Table
) -> tuple[Table, EmbeddingsFolder, list[str], tuple[Fault, ...]]:
    """Rows and features of the scans, there or made now; which cases, and what went wrong."""
    if len(config.inputs) == 1 and is_embeddings(config.inputs[0]):
        folder = made_before(config.inputs[0], within=config.within, model=config.model)
        return of_scans(table, folder.cases_of()), folder, list(folder.entries), ()
    if config.model is None:
        raise ConfigError(
            "model",
            found="scans without a model",
            expected="the run of a pretraining, or a folder of features made before",
            fix="Say which run.",
            setting="model",
        )
    encoder = FrozenEncoder.load(config.model, untrained=True, device=config.device)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    names = [case.case_id for case in cases]
    table = of_scans(table, dict(zip(names, cases_of_channels(cases), strict=True)))
    require_shared(table, names)
    there = _targets(config, table, names).found
    patients = patients_of(table, config.patient_column, {one: one for one in table.cases})
    require_some(there, patients.of, folds=config.folds, where=str(config.labels))
    within = config.within, config.structure
    region = load_region(*within, config.model, device=config.device)
    work = Embedder(encoder, config.overlap, label_maps=config.label_maps, region=region)
    folder = work.open(config.output / FEATURES)
    faults = work.embed(folder, cases)
    failed = {fault.where for fault in faults}
    return table, folder, [name for name in names if name not in failed], faults


def _ask(
    config: ProbeConfig, folder: EmbeddingsFolder, target: Target, patients: Patients
) -> Probed:
    return cross_validate(
        target,
        read_sources(folder, target.cases),
        np.array([patients.of[case] for case in target.cases]),
        folds=config.folds,
        seed=config.seed,
        where=str(config.labels),
    )
