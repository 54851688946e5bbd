import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import encode
from oracles import masks as oracle

SHAPE = (5, 6, 4)


Mask = np.ndarray


@st.composite
def some_masks(draw: st.DrawFn) -> list[Mask]:
    """Boxes and scattered voxels: nested, disjoint, crossing and repeated ones."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    masks = []
    for _ in range(draw(st.integers(0, 12))):
        mask = np.zeros(SHAPE, bool)
        if rng.uniform() < 0.7:
            low = rng.integers(0, np.array(SHAPE))
            high = rng.integers(low + 1, np.array(SHAPE) + 1)
            mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        else:
            mask = rng.uniform(size=SHAPE) < rng.uniform(0.1, 0.9)
        if mask.any():
            masks.append(mask)
    return masks


def as_set(masks: list[Mask]) -> set[bytes]:
    return {np.packbits(mask).tobytes() for mask in masks}


def decoded(masks: MaskSet) -> list[Mask]:
    return [masks.mask(row) for row in range(len(masks))]


@given(some_masks())
def test_any_masks_come_back_exactly(masks: list[Mask]) -> None:
    coded = encode(masks, shape=SHAPE)
    assert as_set(decoded(coded)) == as_set(masks)
    assert len(coded) == len(as_set(masks))


@given(some_masks())
def test_a_layer_is_laminar_and_its_ranks_have_no_gaps(masks: list[Mask]) -> None:
    coded = encode(masks, shape=SHAPE)
    back = decoded(coded)
    for layer, ranks in enumerate(coded.ranks):
        rows = np.flatnonzero(coded.table.layer == layer)
        assert all(oracle.laminar(back[a], back[b]) for a in rows for b in rows)
        covered = np.any([back[row] for row in rows], axis=0)
        np.testing.assert_array_equal(ranks > 0, covered)
        assert set(np.unique(ranks[covered])) == set(range(1, ranks.max() + 1))


def test_nested_masks_share_one_layer_and_crossing_ones_do_not() -> None:
    outer, inner, crossing = (np.zeros(SHAPE, bool) for _ in range(3))
    outer[:4, :4] = inner[1:3, 1:3] = crossing[2:, 2:] = True
    assert len(encode([inner, outer]).ranks) == 1
    assert len(encode([inner, outer, crossing]).ranks) == 2
    assert encode([inner, outer]).table.depths().tolist() == [0, 1]


def test_a_repeated_mask_keeps_its_higher_score() -> None:
    mask = np.ones(SHAPE, bool)
    coded = encode([mask, mask], scores=[0.2, 0.9])
    assert coded.table.score.tolist() == [pytest.approx(0.9)]
