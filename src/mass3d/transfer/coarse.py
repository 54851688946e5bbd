"""What labels lose on the voxels of a model, where these are larger than those of the scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.metrics.overlap import label_overlaps
from mass3d.transfer.oneshot.output import labels_on
from mass3d.volume.box import box_around
from mass3d.volume.geometry import Grid
from mass3d.volume.preparation import prepare_label
from mass3d.volume.volume import Volume

FINER: Final = 1.1  # times, of voxels of scans than those of the model, from which on is measured
MUCH_FINER: Final = 2  # likewise, from which on it is told, whatever the structures lose
ENOUGH: Final = 0.9  # Dice of a label with itself, below which it is told
MEASURED: Final = 5  # scans that are measured: the others of a dataset hardly differ
MOST_LOST: Final = 3  # structures that are told


def edge_mm(scan: Volume) -> float:
    """Of a cube as large as a voxel."""
    return float(np.cbrt(np.prod(scan.spacing_mm)))


def brought_back(label: Volume, values: Sequence[int], coarse: Grid) -> NDArray[np.uint16]:
    """A label map (D, H, W) brought to another grid, nearest, and back as an answer is."""
    there = prepare_label(label, coarse)
    box = box_around(np.isin(there, values))
    if box is None:
        return np.zeros(label.grid.shape, np.uint16)
    shares = np.stack([there[box] == value for value in values]).astype(np.float32)
    return labels_on(label.grid, shares, box, coarse, values)


def what_is_kept(
    label: Volume,
    structures: Mapping[str, Sequence[int]],
    spacing_mm: float,
    *,
    ignored: int | None = None,
) -> dict[str, float]:
    """Dice of a label map with itself, brought to cubes of this edge and back, by structure.

    It is what a network would reach that gave every voxel of its own grid wholly to the right
    structure. structures: all values of each. `ignored`: the value of voxels that do not count.
    Of structures that are not there nothing is told.
    """
    values = sorted({value for some in structures.values() for value in some})
    coarse = label.grid.resampled((spacing_mm, spacing_mm, spacing_mm))
    best = brought_back(label, values, coarse)
    free = int(max(*values, label.voxels.max())) + 1  # values that no voxel has
    places = {
        name: some[0] if len(some) == 1 else number
        for number, (name, some) in enumerate(structures.items(), start=free)
    }
    regions = {places[name]: some for name, some in structures.items() if len(some) > 1}
    own = {value for some in regions.values() for value in some} & {*places.values()}
    regions |= {value: (value,) for value in own}  # values within regions are not told else
    found = label_overlaps(best, label.voxels, ignored=ignored, regions=regions)
    shown = {name: found[place] for name, place in places.items() if place in found}
    return {name: overlap.dice for name, overlap in shown.items() if overlap.truth}


@dataclass
class Losses:
    """What the labels of some scans lose on a model's voxels, scan by scan."""

    spacing_mm: float  # of the model
    structures: Mapping[str, Sequence[int]]  # all values of each
    edges: list[float] = field(default_factory=list)  # of the voxels of each scan, in mm
    kept: list[dict[str, float]] = field(default_factory=list)  # Dice, of the first finer scans

    def add(self, label: Volume, *, ignored: int | None = None) -> None:
        """Look at one more label map on the grid of its scan, as `what_is_kept`."""
        self.edges.append(edge_mm(label))
        if self.edges[-1] < self.spacing_mm / FINER and len(self.kept) < MEASURED:
            self.kept.append(what_is_kept(label, self.structures, self.spacing_mm, ignored=ignored))

    def told(self) -> Iterator[str]:
        """A sentence where much is lost."""
        edge = float(np.median(self.edges))
        much = edge < self.spacing_mm / MUCH_FINER
        names = sorted({name for one in self.kept for name in one})
        means = {n: float(np.mean([one[n] for one in self.kept if n in one])) for n in names}
        worst = sorted(means.items(), key=lambda item: item[1])[:MOST_LOST]
        dice = [f"{mean:.2f} of {name}" for name, mean in worst if much or mean < ENOUGH]
        if edge < self.spacing_mm / FINER and (much or dice):
            yield (
                f"voxels of the scans have edges of about {edge:.2g} mm, but the model works with "
                f"{self.spacing_mm:g} mm: what is smaller is lost"
            ) + (
                "; the labels, brought to whole voxels of that size and back, are left with a Dice "
                f"of about {', '.join(dice)}"
                if dice
                else ""
            )
