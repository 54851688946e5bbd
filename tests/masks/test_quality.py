import numpy as np
import pytest

from mass3d.masks.layers import MaskSet, concatenate
from mass3d.masks.packing import encode
from mass3d.masks.quality import (
    Quality,
    agreement,
    best_dice,
    by_engine,
    measure,
)

SHAPE = (6, 7, 8)


def random_masks(seed: int, count: int = 9) -> list[np.ndarray]:
    """Boxes that cross and nest as they happen to."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        low = [rng.integers(0, n - 1) for n in SHAPE]
        high = [rng.integers(a + 1, n + 1) for a, n in zip(low, SHAPE, strict=True)]
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        masks.append(mask)
    return masks


def plain_best(masks: MaskSet, label: np.ndarray) -> dict[int, float]:
    """Every mask against every structure, one pair at a time."""
    shown = [masks.mask(row) for row in range(len(masks))]
    return {
        int(value): max(
            2 * (mask & (label == value)).sum() / (mask.sum() + (label == value).sum())
            for mask in shown
        )
        for value in np.unique(label)
        if value
    }


@pytest.mark.parametrize("seed", range(10))
def test_the_best_dice_is_that_of_comparing_every_mask(seed: int) -> None:
    masks = encode(random_masks(seed))
    label = np.random.default_rng(seed).integers(0, 4, SHAPE)
    assert best_dice(masks, label) == pytest.approx(plain_best(masks, label))


def test_a_structure_that_is_a_mask_scores_one_and_background_none() -> None:
    box = random_masks(0)[0]
    assert best_dice(encode([box]), 7 * box.astype(int)) == {7: 1.0}


def test_the_figures_of_a_set_are_counted_right() -> None:
    outer, inner, other = (np.zeros(SHAPE, bool) for _ in range(3))
    outer[:4], inner[1:3, :4], other[4:5] = True, True, True
    figures = measure(encode([outer, inner, other]), body=np.ones(SHAPE, bool))
    assert (figures.num_masks, figures.num_layers, figures.depth) == (3, 1, 2)
    assert figures.coverage == pytest.approx(5 / 6)
    assert figures.overlap == pytest.approx((outer.sum() + inner.sum() + other.sum()) / (5 * 56))
    assert figures.voxels == (56, 64, 224)
    assert figures.sizes == (0, 0, 0, 0, 0, 1, 1, 1)


def test_coverage_is_of_the_body() -> None:
    mask, body = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    mask[:3], body[2:4] = True, True
    assert measure(encode([mask]), body=body).coverage == pytest.approx(0.5)


def test_no_masks_have_figures_too() -> None:
    assert measure(encode([], shape=SHAPE)) == Quality(0, 0, 0.0, 0, 0.0, (0, 0, 0), ())


def test_masks_go_by_the_engine_that_found_them_in_the_order_of_their_layers() -> None:
    one, two = encode(random_masks(0), engine="sam2"), encode(random_masks(1), engine="external")
    found = by_engine(concatenate([one, two]))
    assert list(found) == ["sam2", "external"]
    np.testing.assert_array_equal(found["sam2"].ranks, one.ranks)
    np.testing.assert_array_equal(found["external"].ranks, two.ranks)
    assert by_engine(encode([], shape=SHAPE)) == {}


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("seed", range(8))
def test_agreement_is_that_of_comparing_every_pair_of_masks(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mass3d.masks.quality.SLAB_VOXELS", 100)  # two slabs
    one, two = random_masks(seed), random_masks(seed + 100, count=4)
    pairs = np.array([[iou(a, b) for b in two] for a in one])
    found = agreement(encode(one), encode(two))
    assert found == pytest.approx((pairs.max(axis=1).mean(), pairs.max(axis=0).mean()))


def test_sets_agree_with_themselves_and_not_with_nothing() -> None:
    masks = encode(random_masks(0))
    assert agreement(masks, masks) == (1.0, 1.0)
    assert agreement(masks, encode([], shape=SHAPE)) == (0.0, 0.0)
