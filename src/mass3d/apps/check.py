"""`mass3d check`: whether every byte of a store is as it was written, and makes sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Paths, Scheduler, Workers
from mass3d.errors import StoreError
from mass3d.execution.faults import Fault
from mass3d.execution.memory import case_bytes
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import Report, counted
from mass3d.store.check import check_case, unlisted_cases
from mass3d.store.reader import Store, readable_grids
from mass3d.store.schema import case_folder


class CheckConfig(Config):
    """Settings of `mass3d check`."""

    store: Paths = Field(examples=["store"])
    """Prepared stores, one or more."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class StoreContent:
    """What a store holds, as far as it is sound."""

    cases: int
    masks: int
    bytes: int
    fingerprint: str


@dataclass(frozen=True)
class CheckReport(Report):
    """What the stores hold, and everything that is wrong with them."""

    stores: dict[Path, StoreContent]  # without those that cannot be opened
    faults: tuple[Fault, ...] = field(default=())

    def summary(self) -> str:
        """One line for every store that could be opened."""
        lines = [
            f"{path}: {counted(held.cases, 'sound case')} with {counted(held.masks, 'mask')}, "
            f"{held.bytes / 1e6:.3g} MB, fingerprint {held.fingerprint[:12]}."
            for path, held in self.stores.items()
        ]
        verdict = (
            f"{counted(len(self.faults), 'fault')}:"
            if self.faults
            else "Everything is as it was written."
        )
        return "\n".join([*lines, verdict])


@dataclass(frozen=True)
class _Job:
    store: Store
    case_id: str


@dataclass(frozen=True)
class _Checked:
    faults: tuple[StoreError, ...]
    masks: int
    bytes: int


def run(config: CheckConfig) -> CheckReport:
    """Check every case of every store: checksums, geometry, intensities, masks.

    All faults are told at once, each with what to do about it. A store that cannot be opened is
    one fault; nothing is changed or written.
    """
    stores: dict[Path, StoreContent] = {}
    faults: list[Fault] = []
    for path in config.store:
        try:
            store = Store.open(path)
        except StoreError as error:
            faults.append(Fault.of(error))
            continue
        stores[path], found = _check(store, config)
        faults += found
    return CheckReport(stores, tuple(faults))


def _check(store: Store, config: CheckConfig) -> tuple[StoreContent, list[Fault]]:
    outcomes = run_cases(
        _check_one,
        {case_id: _Job(_only(store, case_id), case_id) for case_id in store.case_ids},
        workers=config.workers,
        scheduler=config.scheduler,
        title="check",
        bytes_each=case_bytes(readable_grids(store.path, store.index)),
    )
    faults, sound = [], []
    for outcome in outcomes.values():
        if isinstance(outcome, Fault):
            faults.append(outcome)
        elif outcome.faults:
            faults += [Fault.of(error) for error in outcome.faults]
        else:
            sound.append(outcome)
    faults += [Fault.of(error) for error in unlisted_cases(store)]
    masks, size = sum(case.masks for case in sound), sum(case.bytes for case in sound)
    return StoreContent(len(sound), masks, size, store.fingerprint), faults


def _only(store: Store, case_id: str) -> Store:
    """The store with one row of its table: a worker is not sent thousands with every case."""
    cases = {case_id: store.index.cases[case_id]}
    return Store(store.path, store.index.model_copy(update={"cases": cases}))


def _check_one(job: _Job) -> _Checked:
    faults = tuple(check_case(job.store, job.case_id))
    if faults:
        return _Checked(faults, masks=0, bytes=0)
    folder = case_folder(job.store.path, job.case_id)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return _Checked((), job.store.case(job.case_id).record.num_masks, size)
