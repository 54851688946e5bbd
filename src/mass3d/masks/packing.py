"""Any masks, packed into layers: each, largest first, into the first layer that it fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.masks.layers import MaskSet, concatenate, empty, encode_tree
from mass3d.volume.box import Box, shifted


@dataclass(frozen=True, eq=False)
class CutMask:
    """One mask, cut to its box."""

    box: Box
    mask: NDArray[np.bool_]  # of the box; each of its six faces holds a voxel
    voxels: int
    score: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], score: float) -> CutMask:
        """Cut a mask (D, H, W) that is not empty."""
        found = ndimage.find_objects(mask.astype(np.uint8))
        assert found, "an empty mask"
        box = cast("Box", found[0])
        inside = np.ascontiguousarray(mask[box])
        return cls(box, inside, int(inside.sum()), score)

    def moved(self, by: tuple[int, int, int]) -> CutMask:
        """The same mask, `by` voxels further along (D, H, W)."""
        return replace(self, box=shifted(self.box, by))


def encode(
    masks: Iterable[NDArray[np.bool_]],
    *,
    scores: Sequence[float] | None = None,
    engine: str = "external",
    shape: tuple[int, int, int] | None = None,
) -> MaskSet:
    """Pack any masks (D, H, W) into layers, largest first, each into the first layer it fits.

    The round trip is exact. A mask given twice is kept once, with its higher score. `shape` is
    needed only when there may be no mask at all. An empty mask is a fault of the caller.
    """
    crops: list[CutMask] = []
    for index, mask in enumerate(masks):
        shape = shape or cast("tuple[int, int, int]", mask.shape)
        assert mask.shape == shape, f"mask {index} has shape {mask.shape}, the others {shape}"
        crops.append(CutMask.of(mask, 1.0 if scores is None else float(scores[index])))
    assert shape is not None, "no masks and no shape"
    return pack(crops, shape=shape, engine=engine)


def pack(crops: Iterable[CutMask], *, shape: tuple[int, int, int], engine: str) -> MaskSet:
    """As `encode`, for masks that are cut to their boxes within a volume of `shape`."""
    packings: list[_Packing] = []
    ordered = sorted(crops, key=lambda c: (-c.voxels, -c.score))  # stable: equal ones in order
    numbers = np.min_scalar_type(len(ordered))  # masks that cross take many maps at once
    for crop in ordered:
        if not any(packing.take(crop) for packing in packings):
            packings.append(_Packing(shape, numbers))
            packings[-1].take(crop)
    if not packings:
        return empty(shape)
    return concatenate([packing.finish(engine) for packing in packings])


class _Packing:
    """One layer in the making. Masks come largest first, so a new one is inside or disjoint.

    The map holds, for each voxel, the smallest mask there (its number in order of arrival, from
    1): a new mask fits if it lies on one number only and the mask of that number contains it.
    """

    def __init__(self, shape: tuple[int, int, int], numbers: np.dtype[Any]) -> None:
        self.smallest = np.zeros(shape, numbers)
        self.parent: list[int] = []  # numbers; 0 is the outside
        self.voxels: list[int] = []
        self.scores: list[float] = []

    def take(self, crop: CutMask) -> bool:
        """Add a mask if it is nested in or disjoint from all; a repeated mask is dropped."""
        there = self.smallest[crop.box]
        beneath = there[crop.mask]
        around = int(beneath[0])
        if (beneath != around).any():
            return False
        if around and self.voxels[around - 1] == crop.voxels:
            self.scores[around - 1] = max(self.scores[around - 1], crop.score)
            return True
        self.parent.append(around)
        self.voxels.append(crop.voxels)
        self.scores.append(crop.score)
        there[crop.mask] = len(self.parent)
        return True

    def finish(self, engine: str) -> MaskSet:
        """The layer: each mask is its own remainder (a leaf) and its children."""
        count = len(self.parent)
        # leaves 0..count-1 are the remainders; node count + i is mask count - i, so that parents,
        # which came earlier, have higher indices; the root is the outside
        node = np.array([2 * count - number for number in range(count + 1)])
        parents = np.empty(2 * count + 1, np.int64)
        parents[:count] = node[1:]
        parents[node[1:]] = node[self.parent]
        parents[2 * count] = 2 * count
        return encode_tree(
            self.smallest,
            parents=parents,
            nodes=node[1:],
            scores=np.array(self.scores),
            engine=engine,
        )
