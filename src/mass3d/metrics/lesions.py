"""What was found of lesions: connected parts of the truth and of the prediction that meet.

As in the lesion-wise scores of BraTS 2023 (github.com/rachitsaluja/BraTS-2023-Metrics): voxels that
touch by a face, an edge or a corner are one lesion, and one shared voxel is enough. Unlike there
the truth is not dilated before it is parted, and small lesions count as any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from mass3d.volume.box import box_around, whole_box

NEIGHBOURS: Final = np.ones((3, 3, 3), bool)  # 26


@dataclass(frozen=True)
class Lesions:
    """Lesions of one structure in one case."""

    truth: int
    found: int  # of those in the truth
    predicted: int
    false: int  # of those in the prediction

    @property
    def sensitivity(self) -> float:
        """Share of the true lesions that were found; NaN where there is none to find."""
        return self.found / self.truth if self.truth else math.nan


NO_LESIONS: Final = Lesions(0, 0, 0, 0)


def count_lesions(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], *, overlap: float = 0.0
) -> Lesions:
    """Lesions of two masks (D, H, W) of one shape.

    A lesion of one mask is met by the other where they share at least one voxel, and at least
    `overlap`, in [0, 1], of the voxels of the lesion. One of the truth that is met was found; one
    of the prediction that is not met is false. A lesion may be met by several, and meet several.
    """
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    box = box_around(prediction | truth) or whole_box(truth.shape)
    mine, theirs = prediction[box], truth[box]
    predicted, met = _parts(mine, theirs, overlap)
    true, found = _parts(theirs, mine, overlap)
    return Lesions(truth=true, found=found, predicted=predicted, false=predicted - met)


def _parts(mask: NDArray[np.bool_], other: NDArray[np.bool_], overlap: float) -> tuple[int, int]:
    """How many lesions a mask has, and how many of them the other one meets."""
    parts: NDArray[np.integer[Any]]
    parts, count = label(mask, NEIGHBOURS)
    voxels, shared = (
        np.bincount(parts[there], minlength=count + 1)[1:] for there in (mask, mask & other)
    )
    # a quotient, as 0.29 of 100 voxels is less than 29 in floating point
    return count, int(((shared > 0) & (shared / voxels >= overlap)).sum())
