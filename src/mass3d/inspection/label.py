"""What the label of a scan holds, be it one label map or a folder with a mask per structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError, Mass3dError
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.read import read_label
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Names:
    """What the values of a label map are called, or which masks are wanted."""

    structures: Mapping[str, int]  # of masks the values mean nothing
    ignored: int | None = None  # the value of voxels that nobody has annotated
    of_table: bool = True  # they come from dataset.json


@dataclass(frozen=True)
class LabelFacts:
    """What was counted."""

    voxels: dict[str, int]  # structure -> voxels; 0 for one that is named but not there
    ml: dict[str, float]
    overlap_vox: int  # voxels that are in more than one mask
    ignored_vox: int  # voxels that nobody has annotated, as dataset.json says
    repairs: tuple[str, ...]  # made on reading, one sentence each

    @property
    def missing(self) -> tuple[str, ...]:
        """Structures that are named, by dataset.json or a mask, but have no voxel."""
        return tuple(name for name, count in self.voxels.items() if count == 0)

    @property
    def empty(self) -> bool:
        """Whether there is nothing but background."""
        return not any(self.voxels.values())


@dataclass(frozen=True)
class CountedLabel:
    """A label on the grid of its scan, and what is wrong with its files, one sentence each."""

    voxels: NDArray[np.uint16]  # (D, H, W)
    values: dict[str, int]  # structure -> value in `voxels`
    facts: LabelFacts
    faults: tuple[str, ...] = ()


def count_label(files: LabelFiles, names: Names | None, scan: Volume) -> CountedLabel:
    """Read the label of a scan and count its structures.

    Without `names` the values of a label map are called by their numbers, and all masks are read;
    with `names` only those masks, so that no other one covers them. A mask that cannot be
    read is a fault beside the others; a label map that cannot be read, or lies on another grid
    than its scan, raises `DataError`.
    """
    if files.names:
        masks = dict(zip(files.names, files.paths, strict=True))
        wanted = masks if names is None else names.structures
        return _count_masks({name: masks[name] for name in masks if name in wanted}, scan)
    (path,) = files.paths
    label = read_label(path, like=scan)
    counts = count_values(label.voxels)
    found = {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value > 0}
    named = names or Names({str(value): value for value in found})
    ignored_vox = found.pop(named.ignored, 0) if named.ignored is not None else 0
    unnamed = [value for value in found if value not in named.structures.values()]
    values = {**named.structures, **{str(value): value for value in unnamed}}
    facts = _facts(
        {name: found.get(value, 0) for name, value in values.items()},
        scan,
        repairs=label.repairs,
        ignored_vox=ignored_vox,
    )
    faults = (_unnamed_values(path, unnamed, named),) if unnamed else ()
    return CountedLabel(label.voxels, values, facts, faults)


def count_values(label: NDArray[Any]) -> NDArray[np.int64]:
    """How many voxels of (D, H, W) have each value, from 0 to the highest."""
    length = int(label.max()) + 1
    counts = np.zeros(length, np.int64)
    for section in label:  # by slices, as `bincount` wants eight bytes per voxel
        counts += np.bincount(section.ravel(), minlength=length)
    return counts


def _count_masks(masks: Mapping[str, Path], scan: Volume) -> CountedLabel:
    """One mask after another; where they overlap, the later one lies on top."""
    label = np.zeros(scan.voxels.shape, np.uint16)
    values: dict[str, int] = {}
    voxels: dict[str, int] = {}
    overlap_vox = 0
    repairs, faults = [], []
    for number, (name, path) in enumerate(masks.items(), start=1):
        try:
            mask = read_label(path, like=scan)
        except (Mass3dError, OSError) as error:
            faults.append(str(error))
            continue
        inside = mask.voxels > 0
        values[name], voxels[name] = number, int(np.count_nonzero(inside))
        overlap_vox += int(np.count_nonzero(label[inside]))
        label[inside] = number
        repairs += [f"{name}: {sentence}" for sentence in mask.repairs]
    facts = _facts(voxels, scan, repairs=repairs, overlap_vox=overlap_vox)
    return CountedLabel(label, values, facts, tuple(faults))


def _facts(
    voxels: dict[str, int],
    scan: Volume,
    *,
    repairs: Sequence[str],
    overlap_vox: int = 0,
    ignored_vox: int = 0,
) -> LabelFacts:
    ml = {name: float(f"{count * scan.grid.voxel_ml:.4g}") for name, count in voxels.items()}
    return LabelFacts(voxels, ml, overlap_vox, ignored_vox, tuple(repairs))


def _unnamed_values(path: Path, unnamed: Sequence[int], names: Names) -> str:
    """The fault of values that dataset.json, or what else names them, does not explain."""
    table = "dataset.json"
    where = f"{table} does not name" if names.of_table else "neither a header nor a setting names"
    known = (f"{value} ({name})" for name, value in names.structures.items())
    error = DataError(
        path,
        found=f"values that {where} ({', '.join(map(str, unnamed))})",
        expected=", ".join(["0 (background)", *known]),
        fix=f"Name them{f' in {table}' * names.of_table}, or correct the label.",
    )
    return str(error)
