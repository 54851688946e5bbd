"""Surfaces against plain loops, bodies whose surfaces are known, and what others compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mass3d.metrics.surface import element_areas, surface_scores
from oracles import metrics as oracle

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7)]


def blobs(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two masks that are alike."""
    rng = np.random.default_rng(seed)
    one, noise = (gaussian_filter(rng.standard_normal(shape), sigma) for sigma in (2, 1.5))
    return one > 0.02, one + 0.3 * noise > 0.03


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_plain_loops(spacing: tuple[float, float, float], seed: int) -> None:
    one, other = blobs((7, 8, 9), seed)
    found = surface_scores(one, other, spacing, tolerance_mm=1.0)
    expected = oracle.surfaces(one, other, spacing, element_areas(spacing), 1.0)
    assert (found.nsd, found.hd95_mm, found.asd_mm) == pytest.approx(expected, rel=1e-9)


def test_prediction_and_truth_may_change_places() -> None:
    one, other = blobs((12, 13, 11), 0)
    there = surface_scores(one, other, SPACINGS[1], tolerance_mm=1.0)
    back = surface_scores(other, one, SPACINGS[1], tolerance_mm=1.0)
    assert vars(there) == pytest.approx(vars(back))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_surface_of_a_ball_has_its_area(spacing: tuple[float, float, float]) -> None:
    radius_mm = 15.0
    axes = np.meshgrid(*(np.arange(-20, 20, edge) for edge in spacing), indexing="ij")
    ball = sum(axis**2 for axis in axes) < radius_mm**2
    expected = pytest.approx(4 * math.pi * radius_mm**2, rel=0.2)  # steps are longer than a slope
    assert _area(ball, spacing) == expected


def _area(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    elements = oracle._elements(mask, spacing, element_areas(spacing))
    return sum(area for _, area in elements)


@pytest.mark.parametrize(("shift", "within"), [(0, 1.0), (1, 1.0), (2, 0.8), (5, 0.8)])
def test_a_slab_that_was_shifted_is_as_far_away_as_that(shift: int, within: float) -> None:
    slab = np.zeros((40, 60, 60), bool)
    slab[5:25, 5:55, 5:55] = True
    moved = np.roll(slab, shift, 0)
    found = surface_scores(moved, slab, (2.0, 1.0, 1.0), tolerance_mm=2.0)
    assert found.hd95_mm == 2.0 * shift
    assert 0 <= found.asd_mm <= 2.0 * shift
    # the two large faces are as far apart as the shift, the narrow sides lie on each other
    assert (found.nsd == 1.0) is (within == 1.0)
    assert found.nsd > 0.2


def test_what_is_empty_is_as_far_away_as_the_volume_is_long() -> None:
    nothing, something = np.zeros((3, 4, 12), bool), np.ones((3, 4, 12), bool)
    for pair in ((nothing, something), (something, nothing)):
        found = surface_scores(*pair, (1.0, 1.0, 1.0), tolerance_mm=50.0)
        assert (found.nsd, found.hd95_mm, found.asd_mm) == (0.0, 13.0, 13.0)
    both = surface_scores(nothing, nothing, (1.0, 1.0, 1.0), tolerance_mm=1.0)
    assert all(math.isnan(value) for value in vars(both).values())


def test_the_same_mask_has_no_distance() -> None:
    mask, _ = blobs((9, 9, 9), 1)
    found = surface_scores(mask, mask, SPACINGS[1], tolerance_mm=0.1)
    assert (found.nsd, found.hd95_mm, found.asd_mm) == (1.0, 0.0, 0.0)
