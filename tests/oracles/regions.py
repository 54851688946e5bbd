"""Slow plain versions of how `mass3d.masks.hierarchy.regions` cuts a scan."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

Voxel = tuple[int, ...]


def beside(voxel: Voxel, shape: tuple[int, ...]) -> list[Voxel]:
    """Voxels across a face: before and behind along D, then H, then W."""
    found = []
    for axis, way in ((0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1)):
        other = list(voxel)
        other[axis] += way
        if 0 <= other[axis] < shape[axis]:
            found.append(tuple(other))
    return found


def basins(relief: NDArray[np.float32]) -> NDArray[np.int32]:
    """Follow every voxel down by itself; number the bottoms, touching ones alike, as they come."""
    goal: dict[Voxel, Voxel] = {}
    for voxel in np.ndindex(*relief.shape):
        lowest = min(relief[other] for other in beside(voxel, relief.shape))
        equal = [other for other in beside(voxel, relief.shape) if relief[other] == lowest]
        goal[voxel] = equal[0] if lowest < relief[voxel] else voxel
    number: dict[Voxel, int] = {}
    for voxel in np.ndindex(*relief.shape):
        if goal[voxel] == voxel and voxel not in number:
            fresh, front = max(number.values(), default=0) + 1, [voxel]
            while front:
                at = front.pop()
                number[at] = fresh
                front += [o for o in beside(at, relief.shape) if goal[o] == o and o not in number]
    found = np.zeros(relief.shape, np.int32)
    for voxel in np.ndindex(*relief.shape):
        at = voxel
        while goal[at] != at:
            at = goal[at]
        found[voxel] = number[at]
    return found


def borders(
    regions: NDArray[np.int32], gradient: NDArray[np.float32]
) -> dict[tuple[int, int], list[float]]:
    """The gradient on every face between two regions (lower, higher), one face at a time."""
    faces: dict[tuple[int, int], list[float]] = defaultdict(list)
    for voxel in np.ndindex(*regions.shape):
        for other in beside(voxel, regions.shape):
            if voxel < other and regions[voxel] != regions[other]:
                pair = sorted((int(regions[voxel]), int(regions[other])))
                faces[pair[0], pair[1]].append(float(max(gradient[voxel], gradient[other])))
    return faces
