"""How much of a structure was found: voxels shared by a prediction and the truth, and Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NO_REGIONS: Final[Mapping[int, Sequence[int]]] = MappingProxyType({})


@dataclass(frozen=True)
class Overlap:
    """Voxels of one structure in a prediction and in the truth."""

    truth: int
    predicted: int
    shared: int

    @property
    def dice(self) -> float:
        """Twice the shared voxels over all voxels of both: 1 is perfect.

        0 when only one of the two is empty; NaN when both are, for then nothing can be scored.
        """
        both = self.truth + self.predicted
        return 2 * self.shared / both if both else math.nan

    @property
    def iou(self) -> float:
        """The shared voxels over those of either; 0 and NaN as for Dice."""
        either = self.truth + self.predicted - self.shared
        return self.shared / either if either else math.nan


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks of one shape, in [0, 1]; NaN when both are empty, 0 when one is."""
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    voxels = (int(mask.sum()) for mask in (truth, prediction, prediction & truth))
    return Overlap(*voxels).dice


def label_overlaps(
    prediction: NDArray[np.integer[Any]],
    truth: NDArray[np.integer[Any]],
    *,
    ignored: int | None = None,
    regions: Mapping[int, Sequence[int]] = NO_REGIONS,
) -> dict[int, Overlap]:
    """Value -> overlap, for every value but 0 that either label map (D, H, W) holds, by value.

    Voxels where the truth is `ignored` are not counted. regions: the value that a region is known
    by, and all of its values, which then are not told by themselves. Values are non-negative; both
    maps have one shape. The volume is passed over once, whatever the number of structures: of the
    joint histogram Dice needs only the sums and the diagonal, so it never grows with the square of
    the values.
    """
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    anywhere = (prediction > 0) | (truth > 0)  # background is most of a scan
    if ignored is not None:
        anywhere &= truth != ignored
    ours, theirs = prediction[anywhere], truth[anywhere]
    length = int(max(ours.max(initial=0), theirs.max(initial=0))) + 1
    predicted, true, shared = (
        np.bincount(values, minlength=length) for values in (ours, theirs, ours[ours == theirs])
    )
    inside = {value for some in regions.values() for value in some}
    found = {
        int(value): Overlap(int(true[value]), int(predicted[value]), int(shared[value]))
        for value in np.flatnonzero(predicted + true)
        if value != 0 and value not in inside
    }
    for value, some in regions.items():
        mine, truly = np.isin(ours, list(some)), np.isin(theirs, list(some))
        if mine.any() or truly.any():
            found[value] = Overlap(*(int(one.sum()) for one in (truly, mine, truly & mine)))
    return dict(sorted(found.items()))
