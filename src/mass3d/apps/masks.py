"""`mass3d masks`: how good the masks of a store are, and new ones for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field

from mass3d.apps.outcome import Fault, Report, write_provenance
from mass3d.apps.pool import run_cases
from mass3d.apps.prepare import bytes_each
from mass3d.apps.proposals import (
    case_identities,
    default_workers,
    mask_notes,
    notes_sentence,
    renew_masks,
    require_usable,
)
from mass3d.config import Config
from mass3d.errors import ConfigError, StoreError
from mass3d.masks.engines import MaskConfig
from mass3d.masks.quality import Quality, measure
from mass3d.record import write_json
from mass3d.store.reader import Store, readable_grids, whole_record
from mass3d.store.schema import IndexRecord, StoreSettings, case_folder, read_index
from mass3d.store.writer import (
    collect_index,
    open_for_writing,
    write_index,
)
from mass3d.volume.body import body_mask


class MasksConfig(Config):
    """Settings of `mass3d masks`."""

    store: Path
    """Prepared store."""
    masks: MaskConfig | None = None
    """Propose masks with these engines; None leaves the masks as they are."""
    add: bool = False
    """Whether engines that the store has and that are not named here stay; otherwise they go."""
    output: Path | None = None
    """Folder for quality.json; None takes `masks` in the store."""
    workers: int | None = Field(default=None, ge=1)
    """Processes; None takes as many as cores and memory allow, 1 works in this very process."""
    scheduler: str | None = None
    """Address of a running dask scheduler, whose workers are used instead of processes here."""


@dataclass(frozen=True)
class MasksReport(Report):
    """What the masks of a store are like."""

    store: Path
    quality: dict[str, Quality]
    changed: tuple[str, ...]  # cases that got new masks
    fingerprint: str
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # masks not taken, by case
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        counts = [quality.num_masks for quality in self.quality.values()]
        new = f"Proposed new masks for {len(self.changed)} cases. " if self.changed else ""
        return (
            f"{new}{len(self.quality)} cases with {min(counts, default=0)} to "
            f"{max(counts, default=0)} masks (median {np.median(counts or [0]):.0f}) "
            f"in {self.store}.{notes_sentence(self.notes)}"
        )


@dataclass(frozen=True)
class _Look:
    root: Path
    case_id: str


@dataclass(frozen=True)
class _Measured:
    quality: Quality
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    root: Path
    case_id: str
    settings: StoreSettings
    named: MaskConfig  # the engines that were asked for now


def run(config: MasksConfig) -> MasksReport:
    """Measure the masks of every case, after proposing new ones where that is asked for.

    Killed at any moment, the same call goes on where it was. A case without any new mask becomes
    a fault and is left out of the store's index until other settings find masks in it. Raises
    `StoreError` when the store cannot be trusted.
    """
    if config.add and config.masks is None:
        raise ConfigError(
            "--add",
            found="no engine to add",
            expected="the engines that propose masks",
            fix="Name one, such as --engine sam2.",
        )
    changed, faults = ((), ()) if config.masks is None else _propose_anew(config, config.masks)
    store = Store.open(config.store)
    outcomes = run_cases(
        _measure,
        {name: _Look(config.store, name) for name in store.case_ids},
        workers=config.workers,
        scheduler=config.scheduler,
        title="measure",
        bytes_each=bytes_each(readable_grids(config.store, store.index)),
    )
    measured = {name: found for name, found in outcomes.items() if isinstance(found, _Measured)}
    report = MasksReport(
        store=config.store,
        quality={name: found.quality for name, found in measured.items()},
        changed=changed,
        fingerprint=store.fingerprint,
        notes={name: found.notes for name, found in measured.items() if found.notes},
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
    require_usable(masks)
    with open_for_writing(config.store):
        old = read_index(config.store)
        wanted = _added(old.settings.masks, masks) if config.add else masks
        settings = old.settings.model_copy(update={"masks": wanted})
        if not old.finished and not (old.cases and old.settings.content() == settings.content()):
            Store.open(config.store)  # tells what to do with the unfinished store
        # the table of an interrupted `masks` names its cases, that of a `prepare` is empty
        write_index(config.store, IndexRecord.make(settings, old.cases, finished=False))
        outcomes = run_cases(
            _propose,
            {name: _Job(config.store, name, settings, masks) for name in old.cases},
            workers=config.workers or default_workers(masks, scheduler=config.scheduler),
            scheduler=config.scheduler,
            title="propose",
            bytes_each=bytes_each(readable_grids(config.store, old)),
            folder=config.store,
        )
        done = {name: found for name, found in outcomes.items() if not isinstance(found, Fault)}
        write_index(config.store, collect_index(config.store, settings, whole=done))
    changed = tuple(name for name, found in done.items() if found)
    return changed, tuple(found for found in outcomes.values() if isinstance(found, Fault))


def _added(old: MaskConfig, new: MaskConfig) -> MaskConfig:
    """The engines of both, those that both have with their new settings."""
    engines = dict.fromkeys((*old.engines, *new.engines))
    settings = {name: getattr(new if name in new.engines else old, name) for name in engines}
    return MaskConfig.model_validate({"engines": tuple(engines), **settings})


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
    # engines that were not named are taken as they are: their files may be gone
    have = {engine: done.identity for engine, done in record.engines.items()}
    named = case_identities(job.named, job.case_id)
    wanted = {name: named.get(name) or have[name] for name in job.settings.masks.engines}
    if record.settings == job.settings.fingerprint and have == wanted:
        return False
    renew_masks(job.root, record, job.settings, wanted)
    return True


def _measure(job: _Look) -> _Measured:
    case = Store.open(job.root).case(job.case_id)
    raw = case.intensity.undo(case.read_image())
    quality = measure(case.masks(), body=body_mask(raw, case.record.modality))
    return _Measured(quality, mask_notes(case.record))
