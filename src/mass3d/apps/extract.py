"""`mass3d extract`: cases of a store as NIfTI, each on the exact grid of its scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from mass3d.config import Config, Scheduler, Workers
from mass3d.errors import ConfigError, StoreError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import write_text
from mass3d.io.write import write_image, write_label
from mass3d.masks.layers import MaskSet
from mass3d.pages.pictures import label_table
from mass3d.store.reader import Store, StoredCase
from mass3d.volume.box import whole_box
from mass3d.volume.resample import resample_image, resample_label

COLUMNS = ("mask", "layer", "first", "last", "parent", "voxels", "ml", "score", "engine")


class ExtractConfig(Config):
    """Settings of `mass3d extract`."""

    input: Path = Field(examples=["store"])
    """Prepared store."""
    output: Path = Field(examples=["extracted"])
    """Folder for the files of every case."""
    case: tuple[str, ...] = ()
    """Ids of the cases to take out; all by default."""
    mask: tuple[NonNegativeInt, ...] = ()
    """Masks, by their row in the table, to write as files of their own as well."""
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


@dataclass(frozen=True)
class _Job:
    case: StoredCase
    config: ExtractConfig


@dataclass(frozen=True)
class _Done:
    files: tuple[str, ...]
    clipped: tuple[float, float]


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
        _extract,
        jobs,
        workers=config.workers,
        scheduler=config.scheduler,
        folder=config.output,
        title="extract",
        bytes_each=case_bytes(
            grid for job in jobs.values() for grid in (job.case.grid, job.case.source.grid)
        ),
    )
    done = {name: found for name, found in outcomes.items() if isinstance(found, _Done)}
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


def _jobs(store: Store, config: ExtractConfig) -> tuple[dict[str, _Job], list[Fault]]:
    """A job for every case, and faults for those that cannot be opened."""
    jobs, faults = {}, []
    for case_id in _wanted(store, config.case):
        try:
            jobs[case_id] = _Job(store.case(case_id), config)
        except StoreError as error:
            faults.append(Fault(case_id, str(error)))
    return jobs, faults


def _wanted(store: Store, asked: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [case_id for case_id in asked if case_id not in store.index.cases]
    if unknown:
        raise StoreError(
            store.path,
            found=f"no case {', '.join(map(repr, unknown))}",
            expected=f"some of its {len(store.case_ids)} cases, such as {store.case_ids[0]!r}",
            fix="See the table in store.json.",
        )
    return tuple(dict.fromkeys(asked)) or store.case_ids


def _extract(job: _Job) -> _Done:
    """Write the files of one case; raises `StoreError` for a mask that is not there."""
    case, output = job.case, job.config.output
    _require_masks(case, job.config.mask)
    files: list[str] = []

    def place(what: str) -> Path:
        files.append(f"{case.case_id}_{what}")
        return output / files[-1]

    image = case.intensity.undo(case.read_image())
    image = resample_image(image, case.grid, case.source.grid)
    write_image(place("image.nii.gz"), image, case.source)
    masks = _on_source(case)
    for number, ranks in enumerate(masks.ranks):
        names = label_table(masks.table.value_names(number))
        write_label(place(f"layer{number}.nii.gz"), ranks, case.source, names=names)
    for row in job.config.mask:
        names = label_table({f"mask {row}": 1})
        write_label(place(f"mask{row}.nii.gz"), _mask(masks, row), case.source, names=names)
    write_text(place("masks.csv"), _csv(masks, voxel_ml=case.source.grid.voxel_ml))
    return _Done(tuple(files), (case.intensity.low, case.intensity.high))


def _require_masks(case: StoredCase, rows: tuple[int, ...]) -> None:
    absent = [row for row in rows if row >= len(case.table)]
    if absent:
        raise StoreError(
            case.folder,
            found=f"no mask {', '.join(map(str, absent))}",
            expected=f"rows from 0 to {len(case.table) - 1}",
            fix="Ask for fewer masks; without any, the table of all is written.",
        )


def _on_source(case: StoredCase) -> MaskSet:
    """The masks on the grid of the scan; sizes and boxes of their table are still the store's."""
    layers = [resample_label(ranks, case.grid, case.source.grid) for ranks in case.read_layers()]
    return MaskSet(np.stack(layers), case.table)


def _mask(masks: MaskSet, row: int) -> NDArray[np.bool_]:
    return masks.inside(row, whole_box(masks.shape))


def _csv(masks: MaskSet, *, voxel_ml: float) -> str:
    """The table of the masks; sizes are those in the written layers."""
    table = masks.table
    voxels = table.count(masks.ranks)  # 0 for one that is too small for this grid
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    for row in range(len(table)):
        numbers = (table.layer, table.first, table.last, table.parent, voxels)
        whole = [row, *(int(column[row]) for column in numbers)]
        broken = [f"{voxels[row] * voxel_ml:.6g}", f"{table.score[row]:.6g}"]
        rows.writerow([*whole, *broken, table.engine[row]])
    return stream.getvalue()


def _in_words(ranges: Sequence[tuple[float, float]]) -> str:
    """The one range, or where the cases have their own."""
    if len(ranges) == 1:
        low, high = ranges[0]
        return f"{low:g} to {high:g}"
    return "ranges of their own (record.json)"
