from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mass3d.masks.sam2.crops import Crop, box_iou, crops_of, cut_off, point_grid, suppress
from oracles import sam2 as oracle

SIDES = st.integers(1, 70)


def boxes_of(seed: int, count: int, side: int = 30) -> np.ndarray:
    """Random boxes, none empty."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, side - 1, (count, 2))
    last = first + 1 + rng.integers(0, side - first - 1, (count, 2))
    return np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)


def test_the_crops_are_those_of_the_automatic_mask_generator() -> None:
    """By hand, from the paper's rule: 100 x 160, half of the short side shared in layer 1."""
    found = crops_of((100, 160), layers=1, overlap=0.5)
    assert found == [
        Crop(0, 100, 0, 160),
        Crop(0, 75, 0, 105),
        Crop(25, 100, 0, 105),
        Crop(0, 75, 55, 160),
        Crop(25, 100, 55, 160),
    ]


@example(2, 2, 1, 0.5)
@given(SIDES, SIDES, st.integers(0, 3), st.floats(0, 0.9))
def test_crops_lie_in_the_slice_and_each_layer_covers_it(
    height: int, width: int, layers: int, overlap: float
) -> None:
    found = crops_of((height, width), layers=layers, overlap=overlap)
    assert found[0] == Crop(0, height, 0, width)
    most = sum(4**layer for layer in range(layers + 1))
    assert len(found) <= most
    deepest = np.zeros((height, width), bool)
    for crop in found[1:] or found:
        assert 0 <= crop.top < crop.bottom <= height
        assert 0 <= crop.left < crop.right <= width
        deepest[crop.slices] = True
    # of a slice of few pixels, a crop may be the whole slice, which is there once
    assert deepest.all() or len(found) < most


def test_two_layers_make_twenty_one_crops_of_a_slice() -> None:
    assert len(crops_of((256, 256), layers=2, overlap=0.5)) == 21


@pytest.mark.parametrize("per_side", [1, 2, 3, 32])
def test_points_are_the_middles_of_equal_squares(per_side: int) -> None:
    points = point_grid(per_side)
    expected = [
        ((column + 0.5) / per_side, (row + 0.5) / per_side)
        for row in range(per_side)
        for column in range(per_side)
    ]
    np.testing.assert_allclose(points, expected)


def test_a_mask_is_cut_off_where_its_crop_ends_inside_the_slice() -> None:
    crop = Crop(0, 50, 20, 70)  # at the top edge of the slice
    boxes = np.array(
        [
            [0, 30, 30, 60],  # ends where the slice does
            [10, 30, 20, 60],  # ends at the left of the crop
            [10, 30, 21, 60],  # so close to it that it counts
            [10, 30, 22, 60],
            [10, 50, 30, 60],
            [10, 30, 30, 70],
        ]
    )
    found = cut_off(boxes, crop, (100, 100), edge=0.02)
    assert found.tolist() == [False, True, True, False, True, True]


def test_nothing_is_cut_off_by_the_whole_slice() -> None:
    crop = Crop(0, 100, 0, 100)
    assert not cut_off(np.array([[0, 100, 0, 100]]), crop, (100, 100), edge=0.02).any()


@given(st.integers(0, 1000))
def test_box_overlap_is_that_of_counted_pixels(seed: int) -> None:
    boxes = boxes_of(seed, 6, side=12)
    found = box_iou(boxes[0], boxes)
    np.testing.assert_allclose(found, [oracle.box_iou(tuple(boxes[0]), tuple(b)) for b in boxes])


@given(st.integers(0, 1000), st.floats(0, 1), st.integers(0, 20))
def test_suppression_keeps_what_the_plain_version_keeps(
    seed: int, max_iou: float, count: int
) -> None:
    boxes = boxes_of(seed, count, side=14)
    order = np.random.default_rng(seed).permutation(count)
    found = suppress(boxes, order, max_iou=max_iou)
    assert found.tolist() == oracle.suppress([tuple(b) for b in boxes], list(order), max_iou)
