"""Read a prepared store: cheap to open, fast to crop again and again, careful with broken files."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.files import file_hash
from mass3d.masks.layers import MaskSet, MaskTable, Ranks
from mass3d.store.schema import (
    IMAGE,
    LAYERS,
    PARTS,
    RECORD,
    TABLE,
    CaseRecord,
    IndexRecord,
    case_folder,
    grids,
    read_index,
    read_model,
)
from mass3d.volume.box import Box, box_shape, hull, intersection, relative_to, whole_box
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.intensity import Intensity
from mass3d.volume.preparation import PreparationConfig

COLUMNS = {  # of the mask table: kind of number, numbers per row
    "layer": ("i", ()),
    "first": ("u", ()),
    "last": ("u", ()),
    "parent": ("i", ()),
    "voxels": ("i", ()),
    "box": ("i", (6,)),
    "score": ("f", ()),
    "engine": ("U", ()),
}


@dataclass(frozen=True)
class Store:
    """A finished store. Opening reads the index only; each case is checked when it is asked for."""

    path: Path
    index: IndexRecord

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a finished store. Raises `StoreError` for anything else."""
        index = read_index(path)
        if not index.finished:
            # an interrupted `masks` leaves the table of its cases, a `prepare` an empty one
            verb = "masks" if index.cases else "prepare"
            raise StoreError(
                path,
                found="a store that was not finished",
                expected="all cases prepared",
                fix=f"Run the same mass3d {verb} again; it goes on where it was stopped.",
            )
        if not index.cases:
            raise StoreError(
                path,
                found="no case",
                expected="at least one prepared case",
                fix="See record.json in the store for what went wrong.",
            )
        return cls(path, index)

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Ids of all cases, in a fixed order."""
        return tuple(self.index.cases)

    @property
    def spacing_mm(self) -> float:
        """Edge of the cubic voxels that all cases were resampled to, as nearly as they fit."""
        return self.index.spacing_mm

    @property
    def preparation(self) -> PreparationConfig:
        """How scans were brought onto the grid; a new scan must be treated the same."""
        return self.index.settings.preparation

    @property
    def fingerprint(self) -> str:
        """Hash over schema, settings and the content of all cases."""
        return self.index.fingerprint

    def case(self, case_id: str, *, before: str = "") -> StoredCase:
        """One case. Raises `StoreError` when its files are missing, cut short or exchanged.

        `before` stands before its id from then on, where several stores are read as one.
        """
        folder = case_folder(self.path, case_id)
        entry = self.index.cases.get(case_id)
        if entry is None:
            raise StoreError(
                self.path,
                found=f"no case {case_id!r}",
                expected=f"one of its {len(self.index.cases)} cases",
                fix="See the table in store.json.",
            )
        record = read_record(folder)
        if file_hash(folder / RECORD) != entry.record_sha256 or record.case_id != case_id:
            raise _changed(folder / RECORD)
        for name in PARTS:
            require_size(folder, record, name)
        return StoredCase.of(folder, record, before=before)


class StoredCase:
    """One prepared case. Open files are kept; a pickled case opens them anew."""

    def __init__(
        self, folder: Path, record: CaseRecord, grid: Grid, source: SourceGrid, case_id: str
    ) -> None:
        self.folder, self.record, self.grid, self.source = folder, record, grid, source
        self.case_id = case_id
        self._reading = threading.Lock()  # an open array unpacks one block at a time

    @classmethod
    def of(cls, folder: Path, record: CaseRecord, *, before: str = "") -> StoredCase:
        """A case from its record. Raises `StoreError` for a broken geometry."""
        grid, source = grids(record, folder / RECORD)
        return cls(folder, record, grid, source, before + record.case_id)

    def __reduce__(self) -> tuple[object, ...]:
        return StoredCase, (self.folder, self.record, self.grid, self.source, self.case_id)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (D, H, W)."""
        return self.grid.shape

    @property
    def modality(self) -> str:
        """`ct`, `mr` or `pet`."""
        return self.record.modality

    @property
    def intensity(self) -> Intensity:
        """How raw intensities became the stored ones."""
        return Intensity(**self.record.intensity.plain())

    @property
    def outside(self) -> float:
        """Normalised value of the lowest intensity: what lies outside the scan."""
        return self.intensity.outside

    def read_image(self, box: Box | None = None) -> NDArray[np.float32]:
        """The image (D, H, W), or what lies in `box` (three slices within the volume)."""
        return _widened(self._read(self._image, box or self._everything))

    def read_layers(self, box: Box | None = None) -> Ranks:
        """The rank maps (L, D, H, W), or what lies in `box` (three slices within the volume)."""
        return self._read(self._layers, (slice(None), *(box or self._everything)))

    def read_masks(self, rows: Sequence[int], box: Box | None = None) -> NDArray[np.bool_]:
        """The masks of K rows of the table (K, D, H, W), or what of them lies in `box`.

        Only the parts of the rank maps that these masks reach are read.
        """
        box = box or self._everything
        table, masks = self.table, np.zeros((len(rows), *box_shape(box)), bool)
        places = {k: intersection(table.slices(row), box) for k, row in enumerate(rows)}
        for number in np.unique(table.layer[list(rows)]):
            reached = [
                k for k in places if table.layer[rows[k]] == number and all(box_shape(places[k]))
            ]
            if not reached:
                continue
            around = hull([places[k] for k in reached])
            ranks = self._read(self._layers, (slice(number, number + 1), *around))[0]
            for k in reached:
                rank = ranks[relative_to(places[k], around)]
                # numbers of the array's own kind: a comparison with wider ones is a slow one
                first, last = (rank.dtype.type(c[rows[k]]) for c in (table.first, table.last))
                masks[(k, *relative_to(places[k], box))] = (rank >= first) & (rank <= last)
        return masks

    def masks(self) -> MaskSet:
        """All masks of the case."""
        return MaskSet(self.read_layers(), self.table)

    @cached_property
    def table(self) -> MaskTable:
        """The table of the masks. Raises `StoreError` when it does not fit the arrays."""
        return read_table(self.folder / TABLE, self.record, self.shape)

    @property
    def _everything(self) -> Box:
        return whole_box(self.shape)

    @cached_property
    def _image(self) -> Any:
        return open_array(self.folder / IMAGE, shape=self.shape, dtypes=("float16",))

    @cached_property
    def _layers(self) -> Any:
        shape = (self.record.num_layers, *self.shape)
        return open_array(self.folder / LAYERS, shape=shape, dtypes=("uint16", "uint32"))

    def _read(self, array: Any, box: tuple[slice, ...]) -> NDArray[Any]:
        assert all(
            0 <= part.start <= part.stop <= size
            for part, size in zip(box[-3:], self.shape, strict=True)
        ), f"{box} outside {self.shape}"
        try:
            with self._reading:
                voxels: NDArray[Any] = array[box]
        except Exception as error:  # blosc2 has no error of its own for broken blocks
            raise _changed(self.folder) from error
        return voxels


def readable_grids(root: Path, index: IndexRecord) -> list[Grid]:
    """Grids of the cases whose records can be read; the others become faults when they are."""
    found = []
    for case_id in index.cases:
        with suppress(StoreError):
            folder = case_folder(root, case_id)
            found.append(StoredCase.of(folder, read_record(folder)).grid)
    return found


def read_record(folder: Path) -> CaseRecord:
    """Read case.json of a case folder. Raises `StoreError`."""
    record = read_model(CaseRecord, folder / RECORD)
    if set(record.parts) != set(PARTS):
        raise _changed(folder / RECORD)
    return record


def whole_record(folder: Path) -> CaseRecord | None:
    """The record of a case whose files are all there and as written, else None."""
    try:
        record = read_record(folder)
        if record.case_id != folder.name:
            return None
        for name in PARTS:
            require_size(folder, record, name)
            require_content(folder, record, name)
    except StoreError:
        return None
    return record


def require_size(folder: Path, record: CaseRecord, name: str) -> None:
    """Raise `StoreError` unless the file is there with its recorded length."""
    path = folder / name
    found = path.stat().st_size if path.is_file() else None
    if found != record.parts[name].bytes:
        raise StoreError(
            path,
            found="no file" if found is None else f"{found} bytes",
            expected=f"{record.parts[name].bytes} bytes",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )


def require_content(folder: Path, record: CaseRecord, name: str) -> None:
    """Raise `StoreError` unless the file has its recorded checksum."""
    if file_hash(folder / name) != record.parts[name].sha256:
        raise _changed(folder / name)


def open_array(path: Path, *, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> Any:
    """Open a blosc2 array for reading by one thread. Raises `StoreError` unless it fits."""
    try:
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        found = (tuple(array.shape), str(array.dtype))
    except Exception as error:  # blosc2 parses broken headers with whatever error comes up
        raise _changed(path) from error
    if found[0] != shape or found[1] not in dtypes:
        raise StoreError(
            path,
            found=f"{found[1]} array of shape {found[0]}",
            expected=f"{' or '.join(dtypes)} of shape {shape}",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )
    return array


def read_table(path: Path, record: CaseRecord, shape: tuple[int, int, int]) -> MaskTable:
    """Read the mask table of a case. Raises `StoreError` unless every row can be used safely."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _changed(path) from error
    if not _is_sound(columns, record, shape):
        raise _changed(path)
    return MaskTable(**columns)


def _widened(half: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same finite numbers as float32, in a quarter of the time of `astype`.

    Moves sign, exponent and fraction to their places in the wider format; the product corrects
    the exponent, whose zero is 15 there and 127 here. What is not finite, which no store holds,
    becomes a number beyond the largest of float16.
    """
    bits = half.view(np.int16).astype(np.int32)  # repeats the sign in the new upper bits
    bits <<= 13
    bits &= np.int32(-0x70002000)  # sign, 3 bits of nothing, 5 of exponent, 10 of fraction
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0 ** (127 - 15))
    return numbers


def _is_sound(
    columns: dict[str, NDArray[Any]], record: CaseRecord, shape: tuple[int, int, int]
) -> bool:
    for name, (kind, per_row) in COLUMNS.items():
        column = columns[name]
        if column.dtype.kind != kind or column.shape != (record.num_masks, *per_row):
            return False
    low, high = columns["box"][:, 0::2], columns["box"][:, 1::2]
    rules = (
        (columns["layer"] >= 0) & (columns["layer"] < record.num_layers),
        (columns["first"] >= 1) & (columns["first"] <= columns["last"]),
        (columns["parent"] >= -1) & (columns["parent"] < np.arange(record.num_masks)),
        columns["voxels"] >= 1,
        ((low >= 0) & (low < high) & (high <= np.array(shape))).all(1),
    )
    return all(bool(rule.all()) for rule in rules)


def _changed(path: Path) -> StoreError:
    return StoreError(
        path,
        found="content that is broken or was changed",
        expected="the file as mass3d prepare wrote it",
        fix="Run the same mass3d prepare again; it redoes broken cases.",
    )
