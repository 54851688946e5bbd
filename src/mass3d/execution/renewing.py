"""New masks for the cases that a store has already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.errors import StoreError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes
from mass3d.execution.pool import run_cases
from mass3d.execution.proposals import (
    case_identities,
    default_workers,
    renew_masks,
    require_usable,
)
from mass3d.execution.summary import counted
from mass3d.masks.settings import MaskConfig
from mass3d.store.reader import Store, readable_grids
from mass3d.store.records import whole_record
from mass3d.store.schema import IndexRecord, StoreSettings, case_folder, read_index
from mass3d.store.writer import case_names, collect_index, open_for_writing, write_index

COARSER: Final = "a store of a larger spacing_mm"  # needs less memory


def renew(
    store: Path,
    masks: MaskConfig,
    *,
    add: bool,
    workers: int | None,
    scheduler: str | None,
) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """Propose masks for every case of a store: ids of the cases that got new ones, and faults.

    A case that fails leaves the index and is tried again by the next call. add: the engines that
    the store has stay beside those that are named. Raises `StoreError` where every case fails; the
    store is then what it was.
    """
    require_usable(masks)
    with open_for_writing(store):
        old = read_index(store)
        wanted = _engines_of_both(old.settings.masks, masks) if add else masks
        settings = old.settings.model_copy(update={"masks": wanted})
        if not old.finished and not (old.cases and old.settings.content() == settings.content()):
            Store.open(store)  # tells what to do with the unfinished store
        # the table of an interrupted `masks` names its cases, that of a `prepare` is empty
        write_index(store, IndexRecord.make(settings, old.cases, finished=False))
        outcomes = run_cases(
            _propose,
            {name: _Job(store, name, settings, masks) for name in case_names(store)},
            workers=workers or default_workers(masks, scheduler=scheduler),
            scheduler=scheduler,
            title="propose",
            bytes_each=case_bytes(readable_grids(store, old)),
            folder=store,
            instead=COARSER,
        )
        done = {name: found for name, found in outcomes.items() if not isinstance(found, Fault)}
        if not done:
            write_index(store, old)
            raise _all_failed(store, faults_of(outcomes))
        write_index(store, collect_index(store, settings, whole=done))
    changed = tuple(name for name, found in done.items() if found)
    return changed, faults_of(outcomes)


def _all_failed(store: Path, faults: Sequence[Fault]) -> StoreError:
    first = f"; the first, {faults[0].where}: {faults[0].message}" if faults else ""
    return StoreError(
        store,
        found=f"new masks for none of {counted(len(faults), 'case')}{first}",
        expected="masks for some of them",
        fix="Correct the settings or the files of masks; the store is what it was before.",
    )


@dataclass(frozen=True)
class _Job:
    root: Path
    case_id: str
    settings: StoreSettings
    named: MaskConfig  # the engines that were asked for now


def _engines_of_both(old: MaskConfig, new: MaskConfig) -> MaskConfig:
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
