"""How far surfaces lie apart: NSD, HD95 and ASD of two masks, in millimetres.

Surfaces and their areas as in Nikolov et al. 2021 (Deep learning to achieve clinically applicable
segmentation of head and neck anatomy): between every 2^3 voxels that are not all alike lies an
element, with the area that marching cubes gives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mass3d.volume.box import box_around, whole_box

CORNERS: Final = tuple(product((0, 1), repeat=3))
QUANTILE: Final = 0.95

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class SurfaceScores:
    """How well a predicted surface lies on the true one."""

    nsd: float  # share of both surfaces that lies within the tolerance of the other, in [0, 1]
    hd95_mm: float  # of each surface, 95 % is no further from the other; the larger of the two
    asd_mm: float  # mean distance to the other surface, of both directions


UNSCORED: Final = SurfaceScores(math.nan, math.nan, math.nan)


def surface_scores(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Spacing,
    *,
    tolerance_mm: float,
) -> SurfaceScores:
    """Scores of two masks (D, H, W) of one shape; a mask ends where the volume ends.

    Where one is empty, nothing is within the tolerance, and all lies as far away as the volume is
    long from corner to corner; where both are, nothing can be scored: NaN.
    """
    assert prediction.shape == truth.shape, (prediction.shape, truth.shape)
    empty = [not mask.any() for mask in (prediction, truth)]
    if all(empty):
        return UNSCORED
    if any(empty):
        diagonal = math.dist((0, 0, 0), np.multiply(truth.shape, spacing_mm).tolist())
        return SurfaceScores(0.0, diagonal, diagonal)
    # nothing outside of both masks changes a distance between their surfaces
    box = box_around(prediction | truth) or whole_box(truth.shape)
    areas = [_areas(mask[box], spacing_mm) for mask in (prediction, truth)]
    both = [_distances(areas[one], areas[1 - one], spacing_mm) for one in (0, 1)]
    near = sum(float(area[mm <= tolerance_mm].sum()) for mm, area in both)
    return SurfaceScores(
        nsd=near / sum(float(area.sum()) for _, area in both),
        hd95_mm=max(_quantile(mm, area) for mm, area in both),
        asd_mm=float(np.mean([np.average(mm, weights=area) for mm, area in both])),
    )


def _areas(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float64]:
    """Area of the element around each corner of the voxels: (d + 1, h + 1, w + 1)."""
    padded = np.pad(mask, 1).astype(np.uint8)
    d, h, w = (n + 1 for n in mask.shape)
    codes = np.zeros((d, h, w), np.uint8)
    for bit, (a, b, c) in enumerate(CORNERS):
        codes |= padded[a : a + d, b : b + h, c : c + w] << bit
    return element_areas(spacing_mm)[codes]


@lru_cache(maxsize=64)
def element_areas(spacing_mm: Spacing) -> NDArray[np.float64]:
    """(256,) area in mm2 for every way in which the eight voxels around a corner can be set.

    Bit b of the index is the voxel `CORNERS[b]`.
    """
    # loading it takes longer than what most commands do
    from skimage.measure import marching_cubes, mesh_surface_area  # noqa: PLC0415

    areas = np.zeros(256)
    for code in range(1, 255):
        block = np.zeros((2, 2, 2), np.float32)
        for bit, corner in enumerate(CORNERS):
            block[corner] = code >> bit & 1
        points, faces, _, _ = marching_cubes(block, 0.5, spacing=spacing_mm, method="lorensen")
        areas[code] = mesh_surface_area(points, faces)
    return areas


def _distances(
    one: NDArray[np.float64], other: NDArray[np.float64], spacing_mm: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the elements of one surface are from the other, ascending, and their areas."""
    here = one > 0
    mm, area = distance_transform_edt(other == 0, sampling=spacing_mm)[here], one[here]
    order = np.argsort(mm, kind="stable")
    return mm[order], area[order]


def _quantile(mm: NDArray[np.float64], area: NDArray[np.float64]) -> float:
    """The least distance within which 95 % of a surface lies; distances ascend."""
    share = np.cumsum(area) / area.sum()
    return float(mm[min(int(np.searchsorted(share, QUANTILE)), len(mm) - 1)])
