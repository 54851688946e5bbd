"""Read a prepared store: cheap to open, fast to crop again and again, careful with broken files."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.files import file_hash
from mass3d.masks.layers import MaskSet
from mass3d.masks.table import MaskTable, Ranks
from mass3d.store.arrays import open_array, read_table, widened
from mass3d.store.records import broken, is_recorded, read_record, require_size
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
)
from mass3d.volume.box import Box, box_shape, hull, intersection, relative_to, whole_box
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.intensity import Intensity
from mass3d.volume.preparation import PreparationConfig


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

    def selected(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The cases that are asked for, each once; all where none is. Raises `StoreError`."""
        unknown = [case_id for case_id in asked if case_id not in self.index.cases]
        if unknown:
            raise StoreError(
                self.path,
                found=f"no case {', '.join(map(repr, unknown))}",
                expected=f"some of its {len(self.case_ids)} cases, such as {self.case_ids[0]!r}",
                fix="See the table in store.json.",
            )
        return tuple(dict.fromkeys(asked)) or self.case_ids

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
            raise broken(folder / RECORD)
        for name in PARTS:
            require_size(folder, record, name)
        return StoredCase.of(folder, record, before=before)


class StoredCase:
    """One prepared case. Open files are kept; a pickled case opens them anew.

    Whatever is opened later must still be what the record tells of: raises `StoreError` where
    somebody has changed the store meanwhile.
    """

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

    def unopened(self) -> StoredCase:
        """The same case, which has not opened a file yet."""
        return StoredCase(self.folder, self.record, self.grid, self.source, self.case_id)

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
        return widened(self.read_stored_image(box))

    def read_stored_image(self, box: Box | None = None) -> NDArray[np.float16]:
        """As `read_image`, in the half precision of the store."""
        return self._read(self._image, box or whole_box(self.shape))

    def read_layers(self, box: Box | None = None) -> Ranks:
        """The rank maps (L, D, H, W), or what lies in `box` (three slices within the volume)."""
        return self._read(self._layers, (slice(None), *(box or whole_box(self.shape))))

    def read_masks(self, rows: Sequence[int], box: Box | None = None) -> NDArray[np.bool_]:
        """The masks of K rows of the table (K, D, H, W), or what of them lies in `box`.

        Only the parts of the rank maps that these masks reach are read.
        """
        box = box or whole_box(self.shape)
        table, masks = self.table, np.zeros((len(rows), *box_shape(box)), bool)
        parts = [intersection(table.slices(row), box) for row in rows]
        seen = [k for k, part in enumerate(parts) if all(box_shape(part))]
        for layer in np.unique(table.layer[list(rows)]):
            reached = [k for k in seen if table.layer[rows[k]] == layer]
            if not reached:
                continue
            around = hull([parts[k] for k in reached])
            ranks = self._read(self._layers, (slice(layer, layer + 1), *around))[0]
            for k in reached:
                inside = table.inside(rows[k], ranks[relative_to(parts[k], around)])
                masks[(k, *relative_to(parts[k], box))] = inside
        return masks

    def masks(self) -> MaskSet:
        """All masks of the case."""
        return MaskSet(self.read_layers(), self.table)

    @cached_property
    def table(self) -> MaskTable:
        """The table of the masks. Raises `StoreError` when it does not fit the arrays."""
        with self._unchanged():
            return read_table(self.folder / TABLE, self.record, self.shape)

    @cached_property
    def _image(self) -> Any:
        with self._unchanged():
            return open_array(self.folder / IMAGE, shape=self.shape, dtypes=("float16",))

    @cached_property
    def _layers(self) -> Any:
        shape = (self.record.num_layers, *self.shape)
        with self._unchanged():
            return open_array(self.folder / LAYERS, shape=shape, dtypes=("uint16", "uint32"))

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Open a file of the known record. Raises `StoreError` where another one lies there now.

        Whoever writes exchanges the folder of a case as a whole: a file that was opened before the
        known record is still found beside it is the known file.
        """
        try:
            yield
        finally:
            if not is_recorded(self.folder, self.record):
                raise StoreError(
                    self.folder,
                    found="another content than when the store was opened",
                    expected="a store that nobody changes while it is read",
                    fix="The store was changed while it was read; begin a new run.",
                )

    def _read(self, array: Any, box: tuple[slice, ...]) -> NDArray[Any]:
        assert all(
            0 <= part.start <= part.stop <= size
            for part, size in zip(box[-3:], self.shape, strict=True)
        ), f"{box} outside {self.shape}"
        try:
            with self._reading:
                voxels: NDArray[Any] = array[box]
        except Exception as error:  # blosc2 has no error of its own for broken blocks
            raise broken(self.folder) from error
        return voxels


def readable_grids(root: Path, index: IndexRecord) -> list[Grid]:
    """Grids of the cases whose records can be read; the others become faults when they are."""
    found = []
    for case_id in index.cases:
        with suppress(StoreError):
            folder = case_folder(root, case_id)
            found.append(StoredCase.of(folder, read_record(folder)).grid)
    return found
