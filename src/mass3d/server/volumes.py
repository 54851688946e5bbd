"""Scans and label maps as NIfTI files for a viewer: small ones first, then exact ones.

They are made once and lie in the cache, from which they are sent piece by piece; exact ones are
large, so only the newest of them are kept.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.config import Config
from mass3d.errors import OutputError
from mass3d.files import read_json, text_hash, write_json, writing
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.read import read_grid, read_label, read_stored
from mass3d.pages.pictures import grey_range
from mass3d.server.labels import empty_scan
from mass3d.server.scans import Scans, stamp_of
from mass3d.volume.coarse import Steps, block_means
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.intensity import modality_of
from mass3d.volume.nifti import nifti_start
from mass3d.volume.sample import sample
from mass3d.volume.volume import Volume

SMALL: Final = 96  # voxels along an axis, at most
MIN_LEVELS: Final = 200  # fewer whole numbers than these are scaled before they are rounded
SLAB: Final = 16  # slices that are turned around together
KEPT_BYTES: Final = 4 * 2**30  # of exact volumes; at least the newest few stay
KEPT_FILES: Final = 4
INT16: Final = np.iinfo(np.int16)


class Window(Config):
    """Values that a viewer shows as black and white."""

    low: float
    high: float


@dataclass(frozen=True)
class Image:
    """A NIfTI file in the cache, and how to show it."""

    path: Path
    window: Window


@dataclass
class Volumes:
    """What was made of the scans of a project for viewers."""

    scans: Scans
    cache: Path
    kept_bytes: int = KEPT_BYTES
    _begun: dict[str, threading.Thread] = field(default_factory=dict)
    _locks: defaultdict[str, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )

    def small(self, case_id: str, *, also_full: bool = False) -> Image:
        """A scan of at most 96 voxels an axis. Raises `Refused` and `DataError`.

        also_full: make the exact one from the same reading, too, as it will be asked for next; this
        one is not kept waiting for it.
        """
        return self._image(case_id, "small", also_full=also_full)

    def has_small(self, case_id: str) -> bool:
        """Whether the small volume of a case is made already. Raises `Refused`, `DataError`."""
        key = _key(case_id, self.scans.stamp(self.scans.readable(case_id)))
        return (self.cache / "small" / f"{key}.nii").is_file()

    def full(self, case_id: str) -> Image:
        """A scan on its exact grid: int16 where that holds every value, else float32."""
        return self._image(case_id, "full")

    def label(self, case_id: str, file: Path) -> Path:
        """A label map of a case as NIfTI that is not packed, on the exact grid of the scan.

        Raises `Refused` and `DataError`.
        """
        case = self.scans.readable(case_id)
        target = self.cache / "full" / f"{_key(case_id, str(file), stamp_of(file))}.nii"
        with self._locks[target.name]:
            if not _used(target):
                header = read_grid(case.scan)
                label = read_label(file, like=empty_scan(header, case.path))
                _write_label(target, label.voxels, header.source)
                self._prune()
        return target

    def _image(self, case_id: str, level: str, *, also_full: bool = False) -> Image:
        case = self.scans.readable(case_id)
        key = _key(case_id, self.scans.stamp(case))
        files = {one: self.cache / one / f"{key}.nii" for one in ("small", "full")}
        told = files["small"].with_suffix(".json")
        with self._locks[key]:
            if level == "full" and key in self._begun:
                self._begun.pop(key).join()
            window = _window(told)
            if window is None or not _used(files["small"]) or not _used(files[level]):
                volume = read_stored(case.scan)
                window = self._make_small(case, files["small"], told, volume)
                if level == "full":
                    self._make_full(files["full"], volume)
                elif also_full:
                    self._begun[key] = self._begin_full(files["full"], volume)
        return Image(files[level], window)

    def _make_small(self, case: CaseFile, path: Path, told: Path, volume: Volume) -> Window:
        """Write the small volume, and how to show it."""
        low, high = grey_range(sample(volume.voxels))
        window = Window(low=low, high=high)
        _write_small(path, volume)
        write_json(told, window.plain())
        self.scans.learn(case, modality_of(volume)[0])
        return window

    def _make_full(self, path: Path, volume: Volume) -> None:
        _write_full(path, volume)
        self._prune()

    def _begin_full(self, path: Path, volume: Volume) -> threading.Thread:
        """Write the exact volume while the small one is looked at."""

        def work() -> None:
            with suppress(OutputError):  # whoever asks for it has it made anew, and is told
                self._make_full(path, volume)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def _prune(self) -> None:
        """Remove exact volumes that were not asked for lately, beyond what is kept."""
        files = []
        for path in (self.cache / "full").glob("*.nii"):
            try:
                told = path.stat()
            except OSError:
                continue
            files.append((told.st_mtime_ns, told.st_size, path))
        total = 0
        for number, (_, size, path) in enumerate(sorted(files, reverse=True)):
            total += size
            if total > self.kept_bytes and number >= KEPT_FILES:
                path.unlink(missing_ok=True)


def small_volume(volume: Volume) -> Volume:
    """The scan of at most 96 voxels an axis: means of blocks, float32 (D, H, W)."""
    return block_means(volume, steps_of(volume.grid.shape))


def steps_of(shape: tuple[int, int, int]) -> Steps:
    """Edges of the blocks of voxels that are one in a small volume."""
    d, h, w = (-(-n // SMALL) for n in shape)
    return d, h, w


def _write_small(path: Path, volume: Volume) -> None:
    small = small_volume(volume)
    low, high = float(small.voxels.min()), float(small.voxels.max())
    slope, inter = 1.0, 0.0
    if low < INT16.min or high > INT16.max or high - low < MIN_LEVELS:
        slope = max((high - low) / (INT16.max - 1), float(np.finfo(np.float32).tiny))
        inter = low
    stored = np.rint((small.voxels - np.float32(inter)) / np.float32(slope)).astype(np.int16)
    voxels = small.source.from_canonical(stored)
    affine = np.array(small.source.affine)
    start = nifti_start(small.source.shape, np.int16, affine, scale=(slope, inter))
    _write_pieces(path, [start, voxels.tobytes("F")])


def _write_full(path: Path, volume: Volume) -> None:
    """Write the scan as int16, and once more as float32 where that does not hold a value."""
    try:
        _write_pieces(path, _pieces(volume, np.int16))
    except _NotExact:
        _write_pieces(path, _pieces(volume, np.float32))


class _NotExact(Exception):  # noqa: N818 - it is nobody's error
    """A value that a smaller type does not hold."""


def _pieces(volume: Volume, kind: type[np.generic]) -> Iterator[bytes]:
    """A NIfTI file in pieces of some slices. Raises `_NotExact`."""
    source = volume.source
    voxels = source.from_canonical(volume.voxels)
    yield nifti_start(source.shape, kind, np.array(source.affine))
    for first in range(0, source.shape[2], SLAB):
        slab = np.asfortranarray(voxels[:, :, first : first + SLAB])
        with np.errstate(invalid="ignore"):
            stored = slab.astype(kind)
        if kind is np.int16 and not (stored == slab).all():
            raise _NotExact
        yield stored.tobytes("F")


def _write_label(path: Path, label: NDArray[np.uint16], source: SourceGrid) -> None:
    kind = np.uint8 if label.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
    placed = Volume(label.astype(kind), source.grid, source, path)
    _write_pieces(path, _pieces(placed, kind))


def _write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file of the cache, whole or not at all; after a crash of the machine it is stale.

    The disk is not waited for, as it is for results. Raises `OutputError`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{threading.get_ident()}-{path.name}")
        try:
            with partial.open("wb") as stream:
                stream.writelines(pieces)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _key(*parts: str) -> str:
    """A name in the cache that is no part of any other name."""
    return text_hash(parts)[:32]


def _used(path: Path) -> bool:
    """Whether a file of the cache is there; it then counts as asked for now."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def _window(path: Path) -> Window | None:
    try:
        return Window.model_validate(read_json(path))
    except (OSError, ValueError):
        return None
