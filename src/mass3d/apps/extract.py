"""`mass3d extract`: cases of a store as NIfTI, each on the exact grid of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, NonNegativeInt

from mass3d.config import Config, Scheduler, Workers
from mass3d.errors import ConfigError, StoreError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.store.extraction import Done, Job, extract_case
from mass3d.store.reader import Store


class ExtractConfig(Config):
    """Settings of `mass3d extract`."""

    input: Path = Field(examples=["store"])
    """Prepared store."""
    output: Path = Field(examples=["extracted"])
    """Folder for the files of every case."""
    case: tuple[str, ...] = ()
    """Ids of the cases to extract; all by default."""
    mask: tuple[NonNegativeInt, ...] = ()
    """Masks, by their row in the table, to write as separate files as well."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class ExtractReport(Report):
    """What was written."""

    output: Path
    files: dict[str, tuple[str, ...]]  # case -> names of its files
    clipped: dict[str, tuple[float, float]]  # case -> the range that is left of its intensities
    faults: tuple[Fault, ...] = field(default=())

    def summary(self) -> str:
        """One paragraph for people."""
        count = sum(map(len, self.files.values()))
        ranges = sorted(set(self.clipped.values()))
        told = f" Intensities were clipped to {_in_words(ranges)} when they were prepared."
        return (
            f"Extracted {counted(len(self.files), 'case')} as {counted(count, 'file')}, each on "
            f"the grid of its scan, into {self.output}.{told if ranges else ''}"
        )


def run(config: ExtractConfig) -> ExtractReport:
    """Write image, layers and table of every case, on the grid of the scan it came from.

    A case that is broken becomes a fault and the others go on. Raises `StoreError` when the store
    cannot be opened or lacks a case that is asked for.
    """
    require_own_folder(config.output, "extract", inputs=(config.input,))
    store = Store.open(config.input)
    jobs, faults = _jobs(store, config)
    _begin(config, store)
    outcomes = run_cases(
        extract_case,
        jobs,
        workers=config.workers,
        scheduler=config.scheduler,
        folder=config.output,
        title="extract",
        bytes_each=case_bytes(
            grid for job in jobs.values() for grid in (job.case.grid, job.case.source.grid)
        ),
    )
    done = {name: found for name, found in outcomes.items() if isinstance(found, Done)}
    faults += faults_of(outcomes)
    clipped = {name: found.clipped for name, found in done.items()}
    write_provenance(
        config.output, "extract", config, fingerprint=store.fingerprint, clipped_to=clipped
    )
    files = {name: found.files for name, found in done.items()}
    return ExtractReport(config.output, files, clipped, tuple(faults))


def _begin(config: ExtractConfig, store: Store) -> None:
    """Take the folder; raise `ConfigError` when it holds cases of another store."""
    old = earlier_record(config.output)
    if not old:
        write_provenance(config.output, "extract", config, fingerprint=store.fingerprint)
    elif old.get("fingerprint") != store.fingerprint:
        raise ConfigError(
            config.output,
            found="files of another store, or of this one before it was changed",
            expected="a new or empty folder, or files of this store",
            fix="Choose another output.",
            setting="output",
        )


def _jobs(store: Store, config: ExtractConfig) -> tuple[dict[str, Job], list[Fault]]:
    """A job for every case, and faults for those that cannot be opened."""
    jobs, faults = {}, []
    for case_id in store.selected(config.case):
        try:
            jobs[case_id] = Job(store.case(case_id), config.output, config.mask)
        except StoreError as error:
            faults.append(Fault(case_id, str(error)))
    return jobs, faults


def _in_words(ranges: Sequence[tuple[float, float]]) -> str:
    """The one range, or where the cases have their own."""
    if len(ranges) == 1:
        low, high = ranges[0]
        return f"{low:g} to {high:g}"
    return "ranges of their own (record.json)"
