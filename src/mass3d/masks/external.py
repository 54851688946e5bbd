"""The `external` engine: masks that another tool or a person has made, as layers.

TotalSegmentator, FreeSurfer, nnInteractive, own labels: any label maps and folders of masks. Names
and values mean nothing here; each value of each file is a mask like any other. Files are found and
read by the caller (`io.datasets.mask_files`), because no engine may look for files by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import CutMask, pack
from mass3d.masks.settings import ExternalConfig
from mass3d.volume.box import Box, shifted
from mass3d.volume.geometry import Grid
from mass3d.volume.resample import place_label
from mass3d.volume.volume import Volume

ENGINE = "external"
SHOWN = 3  # masks named for each reason to leave some out
NO_FILES = "no external masks of this case"

Integers = NDArray[np.integer[Any]]


def propose(
    files: Iterable[tuple[str, Volume]], *, grid: Grid, config: ExternalConfig
) -> tuple[MaskSet, tuple[str, ...]]:
    """Masks on the grid of a prepared scan, and what could not be taken, in words.

    files: name and content of label maps (0 is no mask), on any grids. Each value of each is one
    mask. No file at all is told too.
    """
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    least = max(config.min_vox, config.min_mm3 / voxel_mm3)
    most = config.max_share * float(np.prod(grid.shape))
    taken: list[CutMask] = []
    lost = _Lost()
    for name, label in files:
        lost.files += 1
        lost.repairs += [f"{name}: {sentence}" for sentence in label.repairs]
        for value, found in _masks(name, label, grid, lost, split=config.split):
            if found.voxels < least:
                lost.add("too small", name, value)
            elif found.voxels > most:
                lost.add("too large", name, value)
            else:
                taken.append(found)
    return pack(taken, engine=ENGINE, shape=grid.shape), lost.notes()


@dataclass
class _Lost:
    """Masks that could not be taken, by reason, of so many files; and repairs of these."""

    files: int = 0
    repairs: list[str] = field(default_factory=list)
    masks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, name: str, value: int | None = None) -> None:
        self.masks[reason].append(name if value is None else f"{name}: {value}")

    def notes(self) -> tuple[str, ...]:
        if not self.files:
            return (NO_FILES,)
        left_out = (_note(reason, names) for reason, names in sorted(self.masks.items()))
        return (*self.repairs, *left_out)


def _note(reason: str, names: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
    return f"{len(names)} external masks left out, {reason} ({shown})"


def _masks(
    name: str, label: Volume, grid: Grid, lost: _Lost, *, split: bool
) -> Iterator[tuple[int, CutMask]]:
    """Value and mask, on the grid, of everything in a file."""
    there = _boxes(label.voxels)
    if not there:
        lost.add("empty", name)
    placed = place_label(label.voxels, label.grid, grid)
    here = _boxes(placed)
    for value, box in there.items():
        if value in here:
            mask = placed[here[value]] == value
            for part in _parts(mask, here[value]) if split else [_crop(mask, here[value])]:
                yield value, part
            continue
        centres = np.argwhere(label.voxels[box] == value) + [axis.start for axis in box]
        seen = _within(centres, label.grid, grid)
        lost.add("smaller than a voxel of the store" if seen else "outside the scan", name, value)


def _boxes(label: Integers) -> Mapping[int, Box]:
    """Value -> box of every value of a label map (D, H, W) but 0, by value."""
    found = cast("list[Box | None]", ndimage.find_objects(label))
    return {value: box for value, box in enumerate(found, start=1) if box is not None}


def _crop(mask: NDArray[np.bool_], box: Box) -> CutMask:
    return CutMask(box, mask, int(mask.sum()), 1.0)


def _parts(mask: NDArray[np.bool_], box: Box) -> Iterator[CutMask]:
    """The parts of a mask that share no face, each in its own box."""
    numbers, _ = ndimage.label(mask)
    for number, inner in _boxes(numbers).items():
        place = shifted(inner, [axis.start for axis in box])
        yield _crop(numbers[inner] == number, place)


def _within(centres: NDArray[np.int64], old: Grid, new: Grid) -> bool:
    """Whether any of some voxels (N, 3) of `old` has its centre in the box of `new`."""
    to_new = np.linalg.inv(new.affine) @ old.affine
    places = centres @ to_new[:3, :3].T + to_new[:3, 3]
    return bool(((places >= -0.5) & (places < np.array(new.shape) - 0.5)).all(axis=1).any())
