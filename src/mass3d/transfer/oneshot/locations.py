"""Places of structures in the world and in the voxels of a file, and tables of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mass3d.files import csv_text
from mass3d.transfer.oneshot.location import Place
from mass3d.volume.box import Box
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.preparation import Prepared

Corner = tuple[float, ...]


class Location(NamedTuple):
    """Where a structure is in a scan. Boxes are a first and a last corner."""

    box_mm: tuple[Corner, Corner]  # RAS+ (x, y, z)
    box_vox: tuple[Corner, Corner]  # in the axis order of the file, half-open
    confidence: float  # in [0, 1]: how alike scan and references are around it


Found = Mapping[str, Location | None]  # by structure; None: not in the scan


def location(place: Place, scan: Prepared) -> Location:
    """A place in the prepared scan, in the world and in the voxels of the file."""
    confidence = round(place.confidence, 3)
    return Location(
        _in_world(place.box, scan.grid), _in_file(place.box, scan.grid, scan.source), confidence
    )


def _in_world(box: Box, grid: Grid) -> tuple[Corner, Corner]:
    """The smallest box along the axes of the world around one of the grid, in mm."""
    edges = [(axis.start - 0.5, axis.stop - 0.5) for axis in box]
    corners = np.array([(d, h, w, 1) for d in edges[0] for h in edges[1] for w in edges[2]])
    places = (corners @ grid.affine.T)[:, :3]
    low, high = (np.round(corner, 2) for corner in (places.min(0), places.max(0)))
    return tuple(low.tolist()), tuple(high.tolist())


def _in_file(box: Box, grid: Grid, source: SourceGrid) -> tuple[Corner, Corner]:
    """The voxels of the file that a box of the prepared grid touches."""
    first, last = [0] * 3, [0] * 3
    for axis, side in enumerate(box):
        at, n = source.permutation[axis], source.grid.shape[axis]
        scale = n / grid.shape[axis]
        start, stop = int(side.start * scale), min(n, int(np.ceil(side.stop * scale)))
        first[at], last[at] = (n - stop, n - start) if source.flips[axis] else (start, stop)
    return tuple(first), tuple(last)


def as_json(found: Mapping[str, Found]) -> dict[str, Any]:
    """What was found in each case, for a JSON file."""
    return {
        case: {name: None if one is None else one._asdict() for name, one in places.items()}
        for case, places in found.items()
    }


def as_csv(found: Mapping[str, Found]) -> str:
    """A head, and a row for each case and structure; empty cells where it is not in the scan."""
    names = [f"{end}_{axis}_mm" for end in ("min", "max") for axis in "xyz"]
    voxels = [f"{end}_{axis}_vox" for end in ("first", "stop") for axis in "ijk"]
    return csv_text(["case", "structure", "confidence", *names, *voxels], _rows(found))


def _rows(found: Mapping[str, Found]) -> Iterator[list[object]]:
    for case, places in found.items():
        for name, one in places.items():
            if one is None:
                yield [case, name, *[""] * 13]
            else:
                (low, high), (first, stop) = one.box_mm, one.box_vox
                yield [case, name, one.confidence, *low, *high, *first, *stop]
