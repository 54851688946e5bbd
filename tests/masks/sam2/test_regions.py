from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mass3d.masks.packing import CutMask
from mass3d.masks.sam2.regions import distinct, iou, part_at_seed, without_small_parts
from oracles import sam2 as oracle


def noise(seed: int, shape: tuple[int, ...], share: float = 0.5) -> NDArray[np.bool_]:
    mask = np.random.default_rng(seed).random(shape) < share
    mask[(0,) * len(shape)] = True  # never empty
    return mask


@given(st.integers(0, 1000), st.floats(0.2, 0.8), st.integers(0, 12))
def test_small_holes_are_filled_and_small_islands_dropped(
    seed: int, share: float, least: int
) -> None:
    mask = noise(seed, (9, 11), share)
    np.testing.assert_array_equal(
        without_small_parts(mask, least), oracle.without_small_parts(mask, least)
    )


def test_of_small_islands_the_largest_stays() -> None:
    mask = np.zeros((10, 10), bool)
    mask[1, 1:3] = mask[6:8, 6:8] = True
    found = without_small_parts(mask, 50)
    assert found.sum() == 4
    assert found[6, 6]


@given(st.integers(0, 1000), st.floats(0.2, 0.7), st.integers(0, 4))
def test_the_part_at_the_seed_is_the_largest_that_touches_its_slice(
    seed: int, share: float, at: int
) -> None:
    mask = noise(seed, (5, 6, 7), share)
    mask[at, 3, 3] = True
    touching = [part for part in oracle.parts(mask, corners=False) if any(v[0] == at for v in part)]
    found = part_at_seed(mask, at)
    assert found.sum() == max(map(len, touching))
    assert any(np.array_equal(found, oracle.drawn(part, mask.shape)) for part in touching)


def test_a_larger_part_away_from_the_seed_is_dropped() -> None:
    mask = np.zeros((6, 5, 5), bool)
    mask[0:2, 1, 1] = True
    mask[3:6] = True
    found = part_at_seed(mask, 1)
    assert found.sum() == 2


@given(st.integers(0, 1000), st.sampled_from([0.3, 0.6, 0.95]))
def test_near_duplicates_of_a_better_mask_go(seed: int, max_iou: float) -> None:
    rng = np.random.default_rng(seed)
    base = noise(seed, (4, 5, 6), 0.4)
    masks = [base ^ (rng.random(base.shape) < flips) for flips in (0, 0, 0.02, 0.1, 0.3, 0.3)]
    masks = [mask for mask in masks if mask.any()]
    scores = list(rng.choice([0.5, 0.7, 0.9], len(masks)))
    cuts = [CutMask.of(mask, score) for mask, score in zip(masks, scores, strict=True)]
    found = distinct(cuts, max_iou=max_iou)
    assert [cuts.index(cut) for cut in found] == oracle.distinct(masks, scores, max_iou)


@given(st.integers(0, 1000))
def test_overlap_of_cut_masks_is_that_of_whole_ones(seed: int) -> None:
    a, b = (noise(seed + i, (4, 5, 6), 0.05) for i in (0, 5000))
    whole = (a & b).sum() / (a | b).sum()
    assert iou(CutMask.of(a, 1), CutMask.of(b, 1)) == whole
