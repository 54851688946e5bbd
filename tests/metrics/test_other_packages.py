"""Our metrics beside those of MONAI and of DeepMind's surface-distance.

Both are loaded by fixtures, as MONAI takes seconds. Where they define a metric otherwise than we
do, a test says how: on the same surface elements, or on bodies for which both definitions agree.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mass3d.metrics.cases import NOTHING
from mass3d.metrics.overlap import label_overlaps
from mass3d.metrics.surface import SurfaceScores, surface_scores

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of both, told to their authors
    pytest.mark.filterwarnings("ignore:monai:FutureWarning"),  # likewise
    pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class"),  # MONAI, of empty
]

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

SHAPE = (18, 22, 20)
SPACINGS: list[Spacing] = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (0.5, 0.5, 5.0)]
TOLERANCE_MM = 1.0


def blobs(seed: int) -> tuple[Mask, Mask]:
    """Two masks that are alike, cut off by the ends of the volume."""
    rng = np.random.default_rng(seed)
    one, noise = (gaussian_filter(rng.standard_normal(SHAPE), sigma) for sigma in (2, 1.5))
    return one > 0.02, one + 0.3 * noise > 0.03


def made(*places: tuple[slice | int, slice | int, slice | int]) -> Mask:
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return mask


LINE, PLANE = slice(4, 15), slice(3, 17)
THIN = {
    "a voxel and the same": (made((5, 6, 7)), made((5, 6, 7))),
    "a voxel and its neighbour": (made((5, 6, 7)), made((5, 6, 8))),
    "a voxel in a corner and one far away": (made((0, 0, 0)), made((17, 21, 19))),
    "a line and one aside": (made((5, 6, LINE)), made((6, 7, LINE))),
    "a line and its half": (made((5, 6, LINE)), made((5, 6, slice(4, 9)))),
    "a plane of one voxel and one aside": (made((5, PLANE, PLANE)), made((7, PLANE, PLANE))),
    "a plane of one voxel and a line": (made((5, PLANE, PLANE)), made((5, 8, LINE))),
    "voxels that touch at corners": (made((5, 5, 5), (6, 6, 6)), made((5, 5, 6), (6, 6, 5))),
}
PAIRS = {**{f"blobs {seed}": blobs(seed) for seed in range(4)}, **THIN}

each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
each_spacing = pytest.mark.parametrize("spacing", SPACINGS, ids=str)


@pytest.fixture(scope="module")
def monai() -> Iterator[Any]:
    """MONAI's metrics."""
    # some of its networks load transformers where it is found, which takes half of the time
    hidden = {} if "transformers" in sys.modules else {"transformers": None}
    with mock.patch.dict(os.environ), pytest.MonkeyPatch.context() as patch:
        for name, nothing in hidden.items():
            patch.setitem(sys.modules, name, nothing)
        yield importlib.import_module("monai.metrics")


@pytest.fixture
def deepmind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """DeepMind's surface-distance, whose one release was made for NumPy 1."""
    monkeypatch.setattr(np, "Inf", math.inf, raising=False)
    monkeypatch.setattr(np, "NaN", math.nan, raising=False)
    return importlib.import_module("surface_distance")


def scored(prediction: Mask, truth: Mask, spacing: Spacing) -> SurfaceScores:
    return surface_scores(prediction, truth, spacing, tolerance_mm=TOLERANCE_MM)


def batch(mask: Mask) -> torch.Tensor:
    """(1, 1, D, H, W), as MONAI has masks."""
    return torch.from_numpy(mask)[None, None]


def overlap_scores(prediction: Mask, truth: Mask) -> tuple[float, float]:
    found = label_overlaps(prediction.astype(np.uint8), truth.astype(np.uint8))
    overlap = found.get(1, NOTHING)
    return overlap.dice, overlap.iou


# --- overlap --------------------------------------------------------------------------------


@each_pair
def test_dice_and_iou_are_those_of_monai_and_deepmind(
    pair: tuple[Mask, Mask], monai: Any, deepmind: Any
) -> None:
    dice, iou = overlap_scores(*pair)
    ours, theirs = (batch(mask).float() for mask in pair)
    assert monai.compute_dice(ours, theirs).item() == pytest.approx(dice)
    assert monai.compute_iou(ours, theirs).item() == pytest.approx(iou)
    assert deepmind.compute_dice_coefficient(*reversed(pair)) == pytest.approx(dice)


def test_a_missed_structure_has_dice_zero_in_all_three(monai: Any, deepmind: Any) -> None:
    nothing, something = made(), made((5, 6, 7))
    assert overlap_scores(nothing, something) == (0, 0)
    assert monai.compute_dice(batch(nothing).float(), batch(something).float()).item() == 0
    assert monai.compute_iou(batch(nothing).float(), batch(something).float()).item() == 0
    assert deepmind.compute_dice_coefficient(something, nothing) == 0


def test_what_no_label_shows_has_dice_zero_here_and_at_deepmind_and_none_at_monai_by_default(
    monai: Any, deepmind: Any
) -> None:
    nothing, something = made(), made((5, 6, 7))
    assert overlap_scores(something, nothing) == (0, 0)
    assert deepmind.compute_dice_coefficient(nothing, something) == 0
    masks = batch(something).float(), batch(nothing).float()
    for score in (monai.compute_dice, monai.compute_iou):
        assert math.isnan(score(*masks).item())
        assert score(*masks, ignore_empty=False).item() == 0


def test_two_empty_masks_have_no_dice_in_all_three_but_one_at_monai_on_request(
    monai: Any, deepmind: Any
) -> None:
    nothing = made()
    assert all(map(math.isnan, overlap_scores(nothing, nothing)))
    assert math.isnan(deepmind.compute_dice_coefficient(nothing, nothing))
    empty = batch(nothing).float()
    for score in (monai.compute_dice, monai.compute_iou):
        assert math.isnan(score(empty, empty).item())
        assert score(empty, empty, ignore_empty=False).item() == 1


# --- surfaces -------------------------------------------------------------------------------


@each_spacing
@each_pair
def test_surfaces_are_scored_like_deepmind(
    pair: tuple[Mask, Mask], spacing: Spacing, deepmind: Any
) -> None:
    """The same elements; its table gives a few of them another area, hence the tolerance."""
    found = scored(*pair, spacing)
    distances = deepmind.compute_surface_distances(pair[1], pair[0], spacing)
    assert found.hd95_mm == pytest.approx(deepmind.compute_robust_hausdorff(distances, 95))
    nsd = deepmind.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)
    assert found.nsd == pytest.approx(nsd, abs=2e-3)
    asd = np.mean(deepmind.compute_average_surface_distance(distances))
    assert found.asd_mm == pytest.approx(asd, rel=5e-3)


@each_spacing
@each_pair
def test_surfaces_are_scored_like_monai_on_its_surface_elements(
    pair: tuple[Mask, Mask], spacing: Spacing, monai: Any
) -> None:
    """MONAI has elements for NSD (`use_subvoxels`); HD95 and ASD are of the same elements here."""
    found = scored(*pair, spacing)
    masks = [batch(mask) for mask in pair]
    nsd = monai.compute_surface_dice(
        *masks, [TOLERANCE_MM], include_background=True, spacing=spacing, use_subvoxels=True
    )
    assert found.nsd == pytest.approx(nsd.item(), abs=2e-3)
    edges, distances, areas = monai.utils.get_edge_surface_distance(
        *(mask[0, 0] for mask in masks), spacing=spacing, use_subvoxels=True, symmetric=True
    )
    of_each = [
        (mm.numpy(), area[edge].numpy())
        for mm, area, edge in zip(distances, areas, edges, strict=True)
    ]
    asd = np.mean([np.average(mm, weights=area) for mm, area in of_each])
    assert found.asd_mm == pytest.approx(asd, rel=5e-3)
    assert found.hd95_mm == pytest.approx(max(percentile(mm, area) for mm, area in of_each))


def percentile(mm: NDArray[np.floating[Any]], area: NDArray[np.floating[Any]]) -> float:
    """The least distance within which lie 95 % of the area."""
    return next(far for far in np.unique(mm) if area[mm <= far].sum() >= 0.95 * area.sum())


VOXEL, PLATE = made((3, 3, 3)), made((3, PLANE, PLANE))
MOVED = [(VOXEL, shift) for shift in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1), (2, 3, 1))]
MOVED += [(PLATE, shift) for shift in ((0, 0, 0), (1, 0, 0), (4, 0, 0))]


@each_spacing
@pytest.mark.parametrize(("mask", "shift"), MOVED)
def test_hd95_is_that_of_monai_for_a_voxel_and_a_plate_that_were_moved(
    mask: Mask, shift: tuple[int, int, int], spacing: Spacing, monai: Any
) -> None:
    """MONAI measures between voxels at the surface, all alike; here both say how far it moved."""
    moved = np.roll(mask, shift, (0, 1, 2))
    theirs = monai.compute_hausdorff_distance(
        batch(moved), batch(mask), percentile=95, include_background=True, spacing=spacing
    )
    far = math.dist((0, 0, 0), np.multiply(shift, spacing).tolist())
    assert theirs.item() == pytest.approx(far)
    assert scored(moved, mask, spacing).hd95_mm == pytest.approx(far)


@each_spacing
@pytest.mark.parametrize("seed", range(4))
def test_hd95_and_asd_of_blobs_are_within_a_voxel_of_those_between_voxels_of_monai(
    seed: int, spacing: Spacing, monai: Any
) -> None:
    pair = blobs(seed)
    masks, options = [batch(mask) for mask in pair], {"include_background": True}
    found = scored(*pair, spacing)
    hd95 = monai.compute_hausdorff_distance(*masks, percentile=95, spacing=spacing, **options)
    asd = monai.compute_average_surface_distance(*masks, symmetric=True, spacing=spacing, **options)
    assert found.hd95_mm == pytest.approx(hd95.item(), abs=max(spacing))
    assert found.asd_mm == pytest.approx(asd.item(), abs=max(spacing) / 2)


@pytest.mark.parametrize("what", ["missed", "extra"])
def test_what_only_one_mask_has_is_a_diagonal_away_here_and_infinitely_far_or_nothing_elsewhere(
    what: str, monai: Any, deepmind: Any
) -> None:
    spacing = SPACINGS[1]
    nothing, something = made(), made((5, 6, 7))
    pair = (nothing, something) if what == "missed" else (something, nothing)
    found = scored(*pair, spacing)
    diagonal = math.dist((0, 0, 0), np.multiply(SHAPE, spacing).tolist())
    assert found == SurfaceScores(0, diagonal, diagonal)
    masks, options = [batch(mask) for mask in pair], {"include_background": True}
    for elements in (False, True):
        nsd = monai.compute_surface_dice(
            *masks, [TOLERANCE_MM], spacing=spacing, use_subvoxels=elements, **options
        )
        assert nsd.item() == 0
    assert monai.compute_hausdorff_distance(*masks, **options).item() == math.inf
    assert math.isnan(monai.compute_hausdorff_distance(*masks, percentile=95, **options).item())
    asd = monai.compute_average_surface_distance(*masks, symmetric=True, **options)
    assert asd.item() == math.inf
    distances = deepmind.compute_surface_distances(pair[1], pair[0], spacing)
    assert deepmind.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM) == 0
    assert deepmind.compute_robust_hausdorff(distances, 95) == math.inf
    with np.errstate(invalid="ignore"):  # 0 / 0
        both_ways = deepmind.compute_average_surface_distance(distances)
    assert sorted(map(str, both_ways)) == ["inf", "nan"]


def test_the_surfaces_of_two_empty_masks_are_not_scored_by_any_but_for_the_hd95_of_deepmind(
    monai: Any, deepmind: Any
) -> None:
    found = scored(made(), made(), SPACINGS[0])
    assert all(math.isnan(value) for value in vars(found).values())
    masks, options = (batch(made()), batch(made())), {"include_background": True}
    assert math.isnan(monai.compute_surface_dice(*masks, [TOLERANCE_MM], **options).item())
    assert math.isnan(monai.compute_hausdorff_distance(*masks, percentile=95, **options).item())
    assert math.isnan(monai.compute_average_surface_distance(*masks, **options).item())
    distances = deepmind.compute_surface_distances(made(), made(), SPACINGS[0])
    with np.errstate(invalid="ignore"):
        assert math.isnan(deepmind.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM))
    assert deepmind.compute_robust_hausdorff(distances, 95) == math.inf
