"""`mass3d prepare`: turn a folder of scans into a store of prepared cases with masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mass3d.config import Config, LabelMaps, Scans, Scheduler, Workers
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes, readable_grids
from mass3d.execution.ownership import require_apart
from mass3d.execution.pool import run_cases
from mass3d.execution.preparing import Done, Job, Others, prepare_case, settled_fault
from mass3d.execution.proposals import (
    default_workers,
    notes_sentence,
    require_usable,
)
from mass3d.execution.summary import (
    Report,
    counted,
    first_of,
    left_out_sentence,
    repairs_sentence,
    warnings_told,
    write_provenance,
)
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.left_out import LeftOut
from mass3d.masks.settings import MaskConfig
from mass3d.store.schema import StoreSettings
from mass3d.store.writer import (
    begin,
    collect_index,
    existing_settings,
    open_for_writing,
    write_index,
)
from mass3d.volume.geometry import Grid
from mass3d.volume.preparation import (
    Percentiles,
    PreparationConfig,
    Range,
    SpacingMm,
    Statistics,
)
from mass3d.volume.spacing import MIN_VOX, automatic_spacing_mm
from mass3d.volume.volume import Modality


class PrepareConfig(Config):
    """Settings of `mass3d prepare`."""

    inputs: Scans
    output: Path = Field(examples=["store"])
    """Store to write, or to continue."""
    spacing_mm: SpacingMm | Literal["auto"] = "auto"
    """Edge of the cubic voxels in mm; `auto`: that of an existing store, else the geometric mean of
    the median voxel edges, every scan weighted by its voxels, at least 1 mm."""
    modality: Modality | Literal["auto"] = "auto"
    """Modality; `auto`: from DICOM tags, else from words in the names of the file and of its two
    parent folders, else from the histogram."""
    ct_clip_hu: Range = (-991.0, 500.0)
    """CT is clipped to this range of Hounsfield units."""
    percentiles: Percentiles = (2.0, 98.0)
    """MR and PET are clipped to these percentiles of the body voxels."""
    statistics: Statistics = "body"
    """Region of the intensity statistics: `body`; or `box` as in the MASS release, where a CT also
    gets its own mean and standard deviation."""
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
    repairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of cases that had any
    mask_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # masks not taken
    too_small: tuple[str, ...] = ()  # cases with fewer than 16 voxels along an axis
    others: Others = field(default_factory=Others)  # what the store holds beside the inputs
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
            f" {self.store}.{failed}{self._too_small_sentence()}{repairs_sentence(self.repairs)}"
            f"{notes_sentence(self.mask_notes)}{left_out_sentence(self.left_out)}{self.others.sentence()}"
        )

    def _too_small_sentence(self) -> str:
        told = (
            f"at {self.spacing_mm:g} mm, {counted(len(self.too_small), 'scan')} of fewer than"
            f" {MIN_VOX} voxels along an axis ({first_of(self.too_small)}); prepare such scans into"
            " a store of their own, or all with a finer spacing_mm"
        )
        return warnings_told([told] if self.too_small else [])


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
            prepare_case,
            {case.case_id: Job(case, config.output, settings, config.label_maps) for case in cases},
            workers=config.workers or default_workers(config.masks, scheduler=config.scheduler),
            scheduler=config.scheduler,
            title="prepare",
            bytes_each=case_bytes(grids, spacing_mm=settings.preparation.spacing_mm),
            folder=config.output,
            instead="a larger spacing_mm",
        )
        faults = tuple(
            settled_fault(config.output, settings, fault) for fault in faults_of(outcomes)
        )
        done = {name: found for name, found in outcomes.items() if isinstance(found, Done)}
        index = collect_index(config.output, settings, whole=done)
        write_provenance(
            config.output,
            "prepare",
            config,
            spacing_mm=index.spacing_mm,
            cases=len(index.cases),
            fingerprint=index.fingerprint,
            left_out=[entry.plain() for entry in left_out],
            faults=[fault.plain() for fault in faults],
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
        repairs={name: found.repairs for name, found in done.items() if found.repairs},
        mask_notes={name: found.mask_notes for name, found in done.items() if found.mask_notes},
        too_small=tuple(name for name, found in done.items() if found.too_small),
        others=Others.of(index, cases),
        faults=faults,
    )


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
