"""`mass3d prepare`: turn a folder of scans into a store of prepared cases with masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mass3d.config import Config, LabelMaps, Scans, Scheduler, Workers
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes, readable_grids
from mass3d.execution.ownership import require_apart
from mass3d.execution.pool import run_cases
from mass3d.execution.proposals import (
    case_identities,
    default_workers,
    engine_records,
    joined,
    mask_notes,
    notes_sentence,
    propose_masks,
    renew_masks,
    require_usable,
)
from mass3d.execution.summary import (
    Report,
    counted,
    first_of,
    left_out_sentence,
    mended_sentence,
    write_provenance,
)
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.source import source_hash
from mass3d.io.left_out import LeftOut
from mass3d.io.names import plain_name
from mass3d.io.read import read_volume
from mass3d.masks.engines import Scan
from mass3d.masks.settings import EngineName, MaskConfig
from mass3d.store.records import whole_record
from mass3d.store.schema import CaseRecord, Source, StoreSettings, case_folder
from mass3d.store.writer import (
    as_stored,
    begin,
    collect_index,
    discard_case,
    existing_settings,
    open_for_writing,
    write_case,
    write_index,
)
from mass3d.volume.doubts import doubts, require_scan
from mass3d.volume.geometry import Grid
from mass3d.volume.preparation import (
    Percentiles,
    PreparationConfig,
    Range,
    SpacingMm,
    Statistics,
    prepare_volume,
)
from mass3d.volume.spacing import MIN_VOX, automatic_spacing_mm, is_too_small
from mass3d.volume.volume import Modality


class PrepareConfig(Config):
    """Settings of `mass3d prepare`."""

    inputs: Scans
    output: Path = Field(examples=["store"])
    """Store to write, or to go on with."""
    spacing_mm: SpacingMm | Literal["auto"] = "auto"
    """Edge of the cubic voxels in mm; `auto` keeps that of an existing store, else takes the
    geometric mean of the median voxel edges, every scan counted by its voxels, at least 1 mm."""
    modality: Modality | Literal["auto"] = "auto"
    """Kind of scan; `auto` goes by DICOM tags, else by words in the names of the file and of its
    two folders, else by the histogram."""
    ct_clip_hu: Range = (-991.0, 500.0)
    """CT is clipped to this range of Hounsfield units."""
    percentiles: Percentiles = (2.0, 98.0)
    """MR and PET are clipped to these percentiles of the body voxels."""
    statistics: Statistics = "body"
    """Over what a scan is measured: `body`, or `box` as the release of MASS did, which also gives
    a CT a mean and deviation of its own."""
    masks: MaskConfig = MaskConfig()
    """How masks are proposed."""
    label_maps: LabelMaps = False
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class PrepareReport(Report):
    """What became of every scan."""

    store: Path
    spacing_mm: float
    prepared: tuple[str, ...]  # done now
    kept: tuple[str, ...]  # done before, from the same file with the same settings
    left_out: tuple[LeftOut, ...]  # files of the inputs that are part of no scan, and why
    num_masks: dict[str, int]
    fingerprint: str
    mended: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # case -> repairs, if any
    mask_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # masks not taken
    too_small: tuple[str, ...] = ()  # cases with fewer than 16 voxels along an axis
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        done = len(self.prepared) + len(self.kept)
        median = round(np.median(list(self.num_masks.values()))) if done else 0
        masks = f", {median} masks for the median scan" if done else ""
        before = f" ({len(self.kept)} of them earlier)" if self.kept else ""
        failed = f" {len(self.faults)} could not be prepared." if self.faults else ""
        return (
            f"Prepared {counted(done, 'scan')}{before} at {self.spacing_mm:g} mm{masks}, in"
            f" {self.store}.{failed}{self._too_small_sentence()}{mended_sentence(self.mended)}"
            f"{notes_sentence(self.mask_notes)}{left_out_sentence(self.left_out)}"
        )

    def _too_small_sentence(self) -> str:
        if not self.too_small:
            return ""
        return (
            f" Warning: at {self.spacing_mm:g} mm, {counted(len(self.too_small), 'scan')} of fewer"
            f" than {MIN_VOX} voxels along an axis ({first_of(self.too_small)}); prepare such scans"
            " into a store of their own, or all with a finer spacing_mm."
        )


@dataclass(frozen=True)
class _Job:
    case: CaseFile
    root: Path
    settings: StoreSettings
    label_maps: bool


@dataclass(frozen=True)
class _Done:
    kept: bool
    num_masks: int
    mended: tuple[str, ...]
    mask_notes: tuple[str, ...]
    too_small: bool


def run(config: PrepareConfig) -> PrepareReport:
    """Prepare every scan; one that fails becomes a fault and the others go on.

    Killed at any moment, the same call goes on where it was and ends with the same bytes. Scans
    of earlier calls with the same settings stay in the store, also when they can no longer be
    read. Raises `StoreError` when the folder holds something else or cases of other settings,
    `DataError` when there is no scan.
    """
    require_apart(config.output, config.inputs)
    require_usable(config.masks)
    cohort = find_cohort(config.inputs, exclude=config.output)
    cases, left_out = cohort.cases, cohort.left_out
    with open_for_writing(config.output):
        grids = readable_grids(cases)
        settings = _settle(config, grids)
        begin(config.output, settings)
        outcomes = run_cases(
            _prepare,
            {
                case.case_id: _Job(case, config.output, settings, config.label_maps)
                for case in cases
            },
            workers=config.workers or default_workers(config.masks, scheduler=config.scheduler),
            scheduler=config.scheduler,
            title="prepare",
            bytes_each=case_bytes(grids, spacing_mm=settings.preparation.spacing_mm),
            folder=config.output,
        )
        faults = tuple(_after(config.output, settings, fault) for fault in faults_of(outcomes))
        done = {name: found for name, found in outcomes.items() if isinstance(found, _Done)}
        index = collect_index(config.output, settings, whole=done)
        write_provenance(
            config.output,
            "prepare",
            config,
            spacing_mm=index.spacing_mm,
            cases=len(index.cases),
            fingerprint=index.fingerprint,
            left_out=[entry.plain() for entry in left_out],
            faults=[{"where": fault.where, "message": fault.message} for fault in faults],
        )
        write_index(config.output, index)
    return PrepareReport(
        store=config.output,
        spacing_mm=index.spacing_mm,
        prepared=tuple(name for name, found in done.items() if not found.kept),
        kept=tuple(name for name, found in done.items() if found.kept),
        left_out=left_out,
        num_masks={name: found.num_masks for name, found in done.items()},
        fingerprint=index.fingerprint,
        mended={name: found.mended for name, found in done.items() if found.mended},
        mask_notes={name: found.mask_notes for name, found in done.items() if found.mask_notes},
        too_small=tuple(name for name, found in done.items() if found.too_small),
        faults=faults,
    )


def _after(root: Path, settings: StoreSettings, fault: Fault) -> Fault:
    """The fault of a case, of which the store keeps what is whole from an earlier call."""
    old = whole_record(case_folder(root, fault.where))
    if old is None or old.settings != settings.fingerprint:
        discard_case(root, fault.where)
        return fault
    kept = "; the store keeps this case as it was prepared before, which is older than its scan"
    return Fault(fault.where, f"{fault.message}{kept}")


def _prepare(job: _Job) -> _Done:
    """Read, prepare, propose and write one case, unless exactly that was done before."""
    case, settings = job.case, job.settings
    source = Source(name=plain_name(case.path.name), sha256=source_hash(case))
    wanted = case_identities(settings.masks, case.case_id)
    old = whole_record(case_folder(job.root, case.case_id))
    if old is None or old.source != source or old.settings != settings.fingerprint:
        return _done(_prepare_anew(job, source, wanted))
    if {engine: done.identity for engine, done in old.engines.items()} != wanted:
        # other external masks or weights than before: the image stays
        return _done(renew_masks(job.root, old, settings, wanted))
    return _done(old, kept=True)


def _prepare_anew(job: _Job, source: Source, wanted: Mapping[EngineName, str]) -> CaseRecord:
    case, settings = job.case, job.settings
    volume = read_volume(case.scan)
    require_scan(volume, label_maps=job.label_maps)
    prepared = prepare_volume(volume, settings.preparation)
    told = prepared.repairs + tuple(doubts(volume, prepared.modality))
    prepared = replace(prepared, repairs=told)
    scan = Scan(
        image=as_stored(prepared.image),
        grid=prepared.grid,
        spacing_mm=settings.preparation.spacing_mm,
        modality=prepared.modality,
        intensity=prepared.intensity,
    )
    found = propose_masks(
        job.root,
        case.case_id,
        scan,
        config=settings.masks,
        wanted=wanted,
        have={},
        where=case.path,
    )
    return write_case(
        job.root,
        case.case_id,
        prepared,
        joined(found),
        source=source,
        settings=settings,
        engines=engine_records(found),
    )


def _done(record: CaseRecord, *, kept: bool = False) -> _Done:
    small = is_too_small(record.grid["shape"])
    return _Done(kept, record.num_masks, record.repairs, mask_notes(record), small)


def _settle(config: PrepareConfig, grids: list[Grid]) -> StoreSettings:
    """The settings with every `auto` that concerns the whole cohort decided."""
    spacing_mm = config.spacing_mm
    if spacing_mm == "auto":
        old = existing_settings(config.output)
        spacing_mm = old.preparation.spacing_mm if old else automatic_spacing_mm(grids)
    return StoreSettings(
        preparation=PreparationConfig(
            spacing_mm=spacing_mm,
            modality=config.modality,
            ct_clip_hu=config.ct_clip_hu,
            percentiles=config.percentiles,
            statistics=config.statistics,
        ),
        masks=config.masks,
    )
