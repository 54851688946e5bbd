"""`mass3d masks`: how good the masks of a store are, and new ones for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from mass3d.apps.outcome import Fault, Report, write_provenance
from mass3d.apps.pool import run_cases
from mass3d.apps.prepare import bytes_each, propose_masks
from mass3d.config import Config
from mass3d.errors import StoreError
from mass3d.masks.engines import MaskConfig
from mass3d.masks.quality import Quality, measure
from mass3d.record import write_json
from mass3d.store.reader import Store, StoredCase, readable_grids, whole_record
from mass3d.store.schema import IndexRecord, StoreSettings, case_folder, read_index
from mass3d.store.writer import (
    collect_index,
    open_for_writing,
    replace_masks,
    write_index,
)
from mass3d.volume.body import body_mask


class MasksConfig(Config):
    """Settings of `mass3d masks`."""

    store: Path
    """Prepared store."""
    masks: MaskConfig | None = None
    """Propose new masks with these settings; None leaves the masks as they are."""
    output: Path | None = None
    """Folder for quality.json; None takes `masks` in the store."""
    workers: int | None = Field(default=None, ge=1)
    """Processes; None takes as many as cores and memory allow, 1 works in this very process."""


@dataclass(frozen=True)
class MasksReport(Report):
    """What the masks of a store are like."""

    store: Path
    quality: dict[str, Quality]
    changed: tuple[str, ...]  # cases that got new masks
    fingerprint: str
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        counts = [quality.num_masks for quality in self.quality.values()]
        new = f"Proposed new masks for {len(self.changed)} cases. " if self.changed else ""
        return (
            f"{new}{len(self.quality)} cases with {min(counts, default=0)} to "
            f"{max(counts, default=0)} masks (median {np.median(counts or [0]):.0f}) "
            f"in {self.store}."
        )


@dataclass(frozen=True)
class _Job:
    root: Path
    case_id: str
    settings: StoreSettings


def run(config: MasksConfig) -> MasksReport:
    """Measure the masks of every case, after proposing new ones where that is asked for.

    Killed at any moment, the same call goes on where it was. A case without any new mask becomes
    a fault and is left out of the store's index until other settings find masks in it. Raises
    `StoreError` when the store cannot be trusted.
    """
    changed, faults = ((), ()) if config.masks is None else _propose_anew(config, config.masks)
    store = Store.open(config.store)
    outcomes = run_cases(
        _measure,
        {name: _Job(config.store, name, store.index.settings) for name in store.case_ids},
        workers=config.workers,
        title="measure",
        bytes_each=bytes_each(readable_grids(config.store, store.index)),
    )
    report = MasksReport(
        store=config.store,
        quality={name: found for name, found in outcomes.items() if isinstance(found, Quality)},
        changed=changed,
        fingerprint=store.fingerprint,
        faults=faults + tuple(found for found in outcomes.values() if isinstance(found, Fault)),
    )
    output = config.output or config.store / "masks"
    cases = {name: asdict(quality) for name, quality in report.quality.items()}
    write_json(output / "quality.json", {"store": store.fingerprint, "cases": cases})
    write_provenance(output, "masks", config, fingerprint=store.fingerprint)
    return report


def _propose_anew(
    config: MasksConfig, masks: MaskConfig
) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """Ids of the cases that got new masks, and faults."""
    with open_for_writing(config.store):
        old = read_index(config.store)
        if not old.finished and not (old.cases and old.settings.masks.plain() == masks.plain()):
            Store.open(config.store)  # tells what to do with the unfinished store
        settings = old.settings.model_copy(update={"masks": masks})
        # the table of an interrupted `masks` names its cases, that of a `prepare` is empty
        write_index(config.store, IndexRecord.make(settings, old.cases, finished=False))
        outcomes = run_cases(
            _propose,
            {name: _Job(config.store, name, settings) for name in old.cases},
            workers=config.workers,
            title="propose",
            bytes_each=bytes_each(readable_grids(config.store, old)),
        )
        write_index(config.store, collect_index(config.store, settings))
    changed = tuple(name for name, found in outcomes.items() if found is True)
    return changed, tuple(found for found in outcomes.values() if isinstance(found, Fault))


def _propose(job: _Job) -> bool:
    """Whether the case got new masks; false when it has those of the settings already."""
    folder = case_folder(job.root, job.case_id)
    record = whole_record(folder)
    if record is None:
        raise StoreError(
            folder,
            found="a broken case",
            expected="a case as mass3d prepare wrote it",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )
    if record.settings == job.settings.fingerprint:
        return False
    case = StoredCase.of(folder, record)
    masks = propose_masks(
        case.read_image(),
        settings=job.settings,
        modality=record.modality,
        intensity=case.intensity,
        where=folder,
    )
    replace_masks(job.root, record, masks, job.settings)
    return True


def _measure(job: _Job) -> Quality:
    case = Store.open(job.root).case(job.case_id)
    raw = case.read_image() * case.intensity.std + case.intensity.mean
    return measure(case.masks(), body=body_mask(raw, case.record.modality))
