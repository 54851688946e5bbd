"""Lesions against sets of voxels, and what counts as found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mass3d.metrics.lesions import NO_LESIONS, Lesions, count_lesions
from oracles import metrics as oracle

Mask = NDArray[np.bool_]
SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    masks = hnp.arrays(bool, shape, elements=st.sampled_from([False, False, True]))
    return draw(masks), draw(masks)


def line(text: str) -> Mask:
    return np.array([[[letter == "x" for letter in text]]])


@given(pairs(), SHARES)
def test_lesions_are_those_of_sets_of_voxels(pair: tuple[Mask, Mask], overlap: float) -> None:
    expected = Lesions(*oracle.lesions(*pair, overlap))
    assert count_lesions(*pair, overlap=overlap) == expected


@given(pairs(), SHARES)
def test_what_is_false_here_is_missed_when_both_change_places(
    pair: tuple[Mask, Mask], overlap: float
) -> None:
    there = count_lesions(*pair, overlap=overlap)
    back = count_lesions(*reversed(pair), overlap=overlap)
    assert (there.truth, there.found) == (back.predicted, back.predicted - back.false)


def test_one_voxel_is_enough_unless_more_is_asked_for() -> None:
    truth = line("xxxx..xxx..x")
    found = line("x......xx.x.")
    assert count_lesions(found, truth) == Lesions(truth=3, found=2, predicted=3, false=1)
    half = count_lesions(found, truth, overlap=0.5)
    assert half == Lesions(truth=3, found=1, predicted=3, false=1)
    assert half.sensitivity == 1 / 3
    assert count_lesions(line("xxxxxxxxxxxx"), truth, overlap=0.8).false == 1


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    truth = np.zeros((2, 2, 2), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = True
    assert count_lesions(truth, truth) == Lesions(1, 1, 1, 0)


def test_a_share_is_reached_by_exactly_as_many_voxels() -> None:
    truth, found = np.ones((1, 1, 100), bool), np.zeros((1, 1, 100), bool)
    found[..., :57] = (
        True  # 0.57 * 100 is less than 57 in floating point, 0.07 * 100 is more than 7
    )
    assert count_lesions(found, truth, overlap=0.57).found == 1
    assert count_lesions(found, truth, overlap=0.58).found == 0
    found[..., 7:] = False
    assert count_lesions(found, truth, overlap=0.07).found == 1


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ("...", "...", NO_LESIONS),
        ("x.x", "...", Lesions(0, 0, 2, 2)),
        ("...", "x.x", Lesions(2, 0, 0, 0)),
    ],
)
def test_where_one_is_empty_all_is_missed_or_false(
    found: str, truth: str, expected: Lesions
) -> None:
    counted = count_lesions(line(found), line(truth))
    assert counted == expected
    assert math.isnan(counted.sensitivity) == (truth == "...")
