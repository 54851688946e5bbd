"""How much memory a worker needs for a case."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mass3d.errors import Mass3dError
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.read import read_grid
from mass3d.volume.geometry import Grid

WORKER_BYTES = 3e8  # of a worker at rest, with its libraries
READ_BYTES = 20  # at the peak, per voxel of a scan that is read
WORK_BYTES = 100  # at the peak, per voxel of a case that masks are found in
SURFACE_BYTES = 65  # likewise of the distances between surfaces, of a structure that fills both
LESION_BYTES = 20  # likewise of lesions, of a structure that fills both
LABEL_BYTES = 40  # at the peak, per voxel of two label maps that are compared


def readable_grids(cases: Iterable[CaseFile]) -> list[Grid]:
    """Grids of the scans whose headers can be read; the others become faults when they are read."""
    grids = []
    for case in cases:
        try:
            grids.append(read_grid(case.scan).grid)
        except (Mass3dError, OSError):
            continue
    return grids


def reading_bytes(grids: Iterable[Grid]) -> float:
    """Memory that a worker needs to read the largest scan."""
    return WORKER_BYTES + READ_BYTES * max(map(_voxels, grids), default=0)


def case_bytes(grids: Iterable[Grid], *, spacing_mm: float | None = None) -> float:
    """Memory that a worker needs to read any scan and find masks in it, as it is or resampled."""
    scans = list(grids)
    resampled = (
        _voxels(grid) * (math.prod(grid.spacing_mm) / spacing_mm**3 if spacing_mm else 1.0)
        for grid in scans
    )
    return max(reading_bytes(scans), WORKER_BYTES + WORK_BYTES * max(resampled, default=0))


def comparing_bytes(
    voxels: Iterable[int], *, surfaces: bool = False, lesions: bool = False
) -> float:
    """Memory that a worker needs to compare the largest of these label maps with another."""
    # of one structure after the other
    each = LABEL_BYTES + max(SURFACE_BYTES if surfaces else 0, LESION_BYTES if lesions else 0)
    return WORKER_BYTES + each * max(voxels, default=0)


def _voxels(grid: Grid) -> int:
    return math.prod(int(n) for n in grid.shape)
