import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mass3d.metrics.overlap import Overlap, dice, label_overlaps
from oracles import metrics as oracle

Label = NDArray[np.uint16]
VALUES = st.sampled_from([0, 1, 2, 7, 65535])
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[Label, Label]:
    shape = draw(SHAPES)
    maps = hnp.arrays(np.uint16, shape, elements=VALUES)
    return draw(maps), draw(maps)


@given(label_pairs())
def test_every_value_gets_the_dice_of_its_two_masks(pair: tuple[Label, Label]) -> None:
    prediction, truth = pair
    found = label_overlaps(prediction, truth)
    assert list(found) == sorted({*np.unique(prediction), *np.unique(truth)} - {0})
    for value, overlap in found.items():
        ours, theirs = prediction == value, truth == value
        assert overlap.dice == oracle.dice(ours, theirs) == dice(ours, theirs)
        assert overlap == Overlap(theirs.sum(), ours.sum(), (ours & theirs).sum())


@given(label_pairs())
def test_prediction_and_truth_may_change_places(pair: tuple[Label, Label]) -> None:
    there, back = label_overlaps(*pair), label_overlaps(*reversed(pair))
    assert {v: o.dice for v, o in there.items()} == {v: o.dice for v, o in back.items()}


def test_dice_counts_what_is_shared_twice() -> None:
    truth = np.array([[[1, 1, 1, 0, 0, 0]]], bool)
    prediction = np.array([[[0, 1, 1, 1, 1, 1]]], bool)
    assert dice(prediction, truth) == 2 * 2 / (3 + 5)


def test_one_empty_mask_scores_zero_and_two_score_nothing() -> None:
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert dice(empty, full) == dice(full, empty) == 0
    assert math.isnan(dice(empty, empty))
    assert label_overlaps(empty.astype(int), empty.astype(int)) == {}


def test_large_values_cost_no_table_of_all_pairs() -> None:
    values = np.arange(40000).reshape(4, 100, 100)
    found = label_overlaps(values, values[::-1])
    assert len(found) == 39999
    assert all(overlap == Overlap(1, 1, 0) for overlap in found.values())


def test_maps_of_other_shapes_are_never_broadcast() -> None:
    one, other = np.ones((1, 2, 2), int), np.ones((3, 2, 2), int)
    with pytest.raises(AssertionError):
        label_overlaps(one, other)
    with pytest.raises(AssertionError):
        dice(one > 0, other > 0)


def test_ignored_voxels_are_not_counted_whatever_is_predicted_there() -> None:
    truth = np.array([[[0, 1, 1, 9, 9, 9, 2]]], np.uint8)
    prediction = np.array([[[0, 1, 0, 1, 9, 0, 9]]], np.uint8)
    assert label_overlaps(prediction, truth, ignored=9) == {
        1: Overlap(truth=2, predicted=1, shared=1),
        2: Overlap(truth=1, predicted=0, shared=0),
        9: Overlap(truth=0, predicted=1, shared=0),
    }


@given(label_pairs())
def test_a_region_is_the_union_of_its_values(pair: tuple[Label, Label]) -> None:
    prediction, truth = pair
    regions = {1: (1, 2, 7), 2: (2,)}
    found = label_overlaps(prediction, truth, ignored=65535, regions=regions)
    counted = truth != 65535
    assert set(found) <= {1, 2, 65535}
    for value, some in regions.items():
        mine, truly = (np.isin(one, some) & counted for one in (prediction, truth))
        expected = Overlap(int(truly.sum()), int(mine.sum()), int((mine & truly).sum()))
        assert found.get(value, Overlap(0, 0, 0)) == expected
