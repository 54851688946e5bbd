"""Boxes against index arithmetic on small arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mass3d.volume.box import (
    Box,
    box_around,
    box_at,
    box_shape,
    hull,
    intersection,
    relative_to,
    shifted,
    whole_box,
    widened,
)

EDGES = st.integers(0, 7)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    start = [draw(EDGES) for _ in range(3)]
    return box_at(start, [draw(st.integers(1, 8 - a)) for a in start])


def voxels(box: Box) -> np.ndarray:
    """A box as a mask of a small volume, the slow way."""
    mask = np.zeros((8, 8, 8), bool)
    mask[box] = True
    return mask


def test_a_box_is_half_open() -> None:
    box = box_at((1, 0, 5), (2, 3, 1))
    assert box == (slice(1, 3), slice(0, 3), slice(5, 6))
    assert box_shape(box) == (2, 3, 1)
    assert whole_box((4, 5, 6)) == (slice(0, 4), slice(0, 5), slice(0, 6))


@given(boxes(), boxes())
def test_an_intersection_holds_the_voxels_of_both(one: Box, other: Box) -> None:
    shared = intersection(one, other)
    assert np.prod(box_shape(shared)) == (voxels(one) & voxels(other)).sum()
    if all(box_shape(shared)):
        np.testing.assert_array_equal(voxels(shared), voxels(one) & voxels(other))


@given(st.lists(boxes(), min_size=1, max_size=4))
def test_a_hull_is_the_smallest_box_around_all(some: list[Box]) -> None:
    held = np.argwhere(np.any([voxels(box) for box in some], axis=0))
    around = hull(some)
    assert [axis.start for axis in around] == held.min(axis=0).tolist()
    assert [axis.stop for axis in around] == (held.max(axis=0) + 1).tolist()


@given(boxes(), boxes())
def test_a_box_relative_to_another_finds_the_same_voxels_in_it(one: Box, other: Box) -> None:
    around = hull([one, other])
    numbers = np.arange(8**3).reshape(8, 8, 8)
    np.testing.assert_array_equal(numbers[around][relative_to(one, around)], numbers[one])


def test_a_shift_needs_a_step_for_every_axis() -> None:
    assert shifted(box_at((1, 2, 3), (1, 1, 1)), (1, 0, -3)) == box_at((2, 2, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="argument"):
        shifted(whole_box((1, 1, 1)), (1, 2))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_boxes_around_what_is_shown_stay_within_the_volume(kind: Callable[..., Any]) -> None:
    mask = kind(np.zeros((9, 8, 7), bool))
    assert box_around(mask) is None
    mask[2:4, 5, 6] = True
    assert box_around(mask) == (slice(2, 4), slice(5, 6), slice(6, 7))
    assert box_around(mask, 3) == (slice(0, 7), slice(2, 8), slice(3, 7))
    assert widened((slice(1, 2),) * 3, 100, (5, 6, 7)) == (slice(0, 5), slice(0, 6), slice(0, 7))
