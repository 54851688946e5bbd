import numpy as np
import pytest

from mass3d.masks.layers import MaskSet, concatenate, encode
from mass3d.masks.quality import (
    Deviation,
    Quality,
    agreement,
    best_dice,
    by_engine,
    measure,
    outliers,
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


def figures(**changes: object) -> Quality:
    usual = {"num_masks": 100, "num_layers": 2, "coverage": 0.9, "depth": 3, "overlap": 2.0}
    return Quality(**{**usual, "voxels": (20, 200, 9000), "sizes": (), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "figure", "value"),
    [
        ({"num_masks": 40}, "num_masks", 40),
        ({"num_masks": 0}, "num_masks", 0),
        ({"coverage": 0.5}, "coverage", 0.5),
        ({"voxels": (20, 900, 9000)}, "median", 900),
        ({"voxels": (20, 60, 9000)}, "median", 60),
        ({"voxels": (20, 200, 90000)}, "largest", 90000),
    ],
)
def test_a_case_that_is_unlike_the_others_of_its_kind_stands_out(
    changes: dict[str, object], figure: str, value: float
) -> None:
    cases = {f"c{n}": figures(num_masks=100 + n, coverage=0.9 + n / 500) for n in range(6)}
    cases["odd"] = figures(**changes)
    found = outliers(cases, dict.fromkeys(cases, "ct"))
    assert list(found) == ["odd"]
    assert [(one.figure, one.value) for one in found["odd"]] == [(figure, value)]
    assert found["odd"][0].far > 3.5


def test_many_masks_good_coverage_and_small_differences_do_not_stand_out() -> None:
    cases = {f"c{n}": figures() for n in range(9)}
    cases |= {"many": figures(num_masks=900), "full": figures(coverage=1.0)}
    cases["near"] = figures(num_masks=75, coverage=0.84, voxels=(20, 240, 9900))
    assert outliers(cases, dict.fromkeys(cases, "ct")) == {}


def test_the_distance_is_in_robust_standard_deviations_and_the_farthest_is_first() -> None:
    counts = [80, 90, 100, 110, 120, 30, 10]
    cases = {str(count): figures(num_masks=count) for count in counts}
    found = outliers(cases, dict.fromkeys(cases, "ct"))
    assert list(found) == ["10", "30"]
    logs = np.log(counts)
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    far = (np.median(logs) - np.log(10)) / spread
    (deviation,) = found["10"]
    assert deviation == Deviation("num_masks", 10.0, 90.0, deviation.far)
    assert deviation.far == pytest.approx(far)


def test_cases_are_compared_with_their_kind_and_few_with_none() -> None:
    cases = {f"ct{n}": figures() for n in range(5)} | {"pet": figures(num_masks=9)}
    kinds = {name: name[:2] for name in cases}
    assert outliers(cases, kinds) == {}
    assert list(outliers(cases, dict.fromkeys(cases, "all"))) == ["pet"]
