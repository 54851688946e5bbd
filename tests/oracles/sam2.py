"""Slow plain versions of what `mass3d.masks.sam2` does with arrays."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # half-open (top, bottom, left, right)


def pixels(box: Box) -> set[tuple[int, int]]:
    """Every pixel of a box."""
    return {(row, column) for row in range(box[0], box[1]) for column in range(box[2], box[3])}


def box_iou(a: Box, b: Box) -> float:
    """Overlap of two boxes, by counting pixels."""
    return len(pixels(a) & pixels(b)) / max(1, len(pixels(a) | pixels(b)))


def suppress(boxes: list[Box], order: list[int], max_iou: float) -> list[int]:
    """Greedy non-maximum suppression."""
    kept: list[int] = []
    for row in order:
        if all(box_iou(boxes[row], boxes[other]) <= max_iou for other in kept):
            kept.append(row)
    return kept


def stability(logits: NDArray[np.floating]) -> float:
    """Share of the pixels above -1 that are also above 1, one by one."""
    inner = sum(bool(value > 1) for value in logits.ravel())
    outer = sum(bool(value > -1) for value in logits.ravel())
    return inner / outer if outer else 0.0


def parts(mask: Mask, *, corners: bool) -> list[set[tuple[int, ...]]]:
    """Connected parts of a mask of any dimension, by walking; in order of their first voxels."""
    waiting = {tuple(int(i) for i in index) for index in np.argwhere(mask)}
    steps = [
        step
        for step in np.ndindex(*(3,) * mask.ndim)
        if corners or sum(abs(s - 1) for s in step) == 1
    ]
    found = []
    while waiting:
        part, edge = set(), [waiting.pop()]
        while edge:
            voxel = edge.pop()
            part.add(voxel)
            for step in steps:
                near = tuple(v + s - 1 for v, s in zip(voxel, step, strict=True))
                if near in waiting:
                    waiting.remove(near)
                    edge.append(near)
        found.append(part)
    return sorted(found, key=min)


def drawn(voxels: set[tuple[int, ...]], shape: tuple[int, ...]) -> Mask:
    """A mask from its voxels."""
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def without_small_parts(mask: Mask, least: float) -> Mask:
    """Holes filled, islands dropped, part by part."""
    filled = mask.copy()
    for hole in parts(~mask, corners=True):
        if len(hole) < least:
            filled |= drawn(hole, mask.shape)
    islands = parts(filled, corners=True)
    large = [island for island in islands if len(island) >= least]
    if not large and islands:
        large = [max(islands, key=len)]
    return drawn(set().union(*large), mask.shape)


def distinct(masks: list[Mask], scores: list[float], max_iou: float) -> list[int]:
    """Rows by falling score, without those that overlap a better one too much."""
    kept: list[int] = []
    for row in sorted(range(len(masks)), key=lambda r: -scores[r]):
        overlaps = [
            (masks[row] & masks[other]).sum() / (masks[row] | masks[other]).sum() for other in kept
        ]
        if all(overlap <= max_iou for overlap in overlaps):
            kept.append(row)
    return kept
