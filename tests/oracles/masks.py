"""Slow plain versions of what `mass3d.masks` does cleverly."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def laminar(a: Mask, b: Mask) -> bool:
    """Whether two masks are nested or disjoint."""
    both = a & b
    return not both.any() or bool((both == a).all()) or bool((both == b).all())


def smallest_around(masks: list[Mask], index: int) -> int:
    """Index of the smallest other mask that contains this one, -1 if none does."""
    inside = masks[index]
    around = [
        other
        for other, mask in enumerate(masks)
        if other != index and mask.sum() > inside.sum() and not (inside & ~mask).any()
    ]
    return min(around, key=lambda other: int(masks[other].sum()), default=-1)


def box(mask: Mask) -> list[int]:
    """Half-open (d0, d1, h0, h1, w0, w1)."""
    found = np.argwhere(mask)
    return np.stack([found.min(axis=0), found.max(axis=0) + 1], axis=1).ravel().tolist()


def interval(ranks: NDArray[np.unsignedinteger], first: int, last: int) -> Mask:
    """The voxels of an interval of ranks, one by one."""
    inside = np.zeros(ranks.shape, bool)
    for place in np.ndindex(ranks.shape):
        inside[place] = first <= int(ranks[place]) <= last
    return inside


def crosses(intervals: list[tuple[int, int]]) -> bool:
    """Whether any two intervals share ranks without one holding the other."""
    sets = [set(range(first, last + 1)) for first, last in intervals]
    return any(a & b and not (a <= b or b <= a) for a in sets for b in sets)
