import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mass3d.views.draw import (
    IntensityConfig,
    StrongIntensityConfig,
    ViewConfig,
    WarpConfig,
    case_order,
    draw_crop_centres,
    draw_intensity,
    draw_visible,
    draw_warp,
    rotation,
    stream,
)

CROP = (16, 32, 16)
EDGES = st.integers(4, 80)


def test_a_draw_depends_on_seed_step_and_index_only() -> None:
    draws = {stream(seed, step, index).integers(2**62) for seed, step, index in np.ndindex(3, 3, 3)}
    assert len(draws) == 27
    assert stream(1, 2, 3).integers(2**62) == stream(1, 2, 3).integers(2**62)


def test_every_case_is_shown_once_per_pass() -> None:
    first = [case_order(0, position, 7) for position in range(7)]
    second = [case_order(0, position, 7) for position in range(7, 14)]
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second


@given(shape=st.tuples(EDGES, EDGES, EDGES), seed=st.integers(0, 1000))
def test_crops_overlap_and_stay_inside_the_scan(shape: tuple[int, int, int], seed: int) -> None:
    near = (np.zeros(3), np.array(shape) - 1.0)
    reference, query = draw_crop_centres(
        np.random.default_rng(seed), shape, CROP, near=near, min_overlap=0.67
    )
    shared = 1 - np.abs(reference - query) / np.array(CROP)
    assert (shared >= 0.67 - 1e-9).all()
    for centre in (reference, query):
        small = np.array(shape) <= np.array(CROP)
        np.testing.assert_allclose(centre[small], (np.array(shape)[small] - 1) / 2)
        first, last = centre - (np.array(CROP) - 1) / 2, centre + (np.array(CROP) - 1) / 2
        assert (first[~small] >= -1e-9).all()
        assert (last[~small] <= np.array(shape)[~small] - 1 + 1e-9).all()


def test_far_queries_reach_the_whole_scan() -> None:
    rng, shape = np.random.default_rng(0), (100, 100, 100)
    near = (np.full(3, 20.0), np.full(3, 20.0))
    queries = [
        draw_crop_centres(rng, shape, CROP, near=near, min_overlap=0.67, far=True)[1]
        for _ in range(200)
    ]
    assert np.ptp(queries, axis=0).min() > 55


def test_rotations_keep_lengths() -> None:
    matrix = rotation(np.array([0.3, -1.0, 2.0]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_neutral_settings_leave_the_view_alone() -> None:
    rng = np.random.default_rng(0)
    warp = draw_warp(rng, np.zeros(3), CROP, WarpConfig(p=0, bend_p=0))
    np.testing.assert_array_equal(warp.matrix, np.eye(3))
    assert warp.bend is None
    change = draw_intensity(rng, IntensityConfig(p=0))
    assert (change.gain, change.shift, change.gamma, change.contrast) == (1, 0, 1, 1)
    assert change.blur_vox == change.noise_std == 0


def choose(reference: list[int], query: list[int], **options: float) -> set[int]:
    rows = draw_visible(
        np.random.default_rng(0),
        np.array(reference),
        np.array(query),
        num_masks=int(options.get("num_masks", 4)),
        min_visible_vox=10,
        negative_share=options.get("negative_share", 0.0),
    )
    assert len(set(rows.tolist())) == len(rows)
    return set(rows.tolist())


def test_only_masks_visible_in_both_views_are_chosen() -> None:
    assert choose([50, 50, 5, 50], [50, 0, 50, 5]) == {0}


def test_negatives_are_seen_in_the_reference_and_absent_from_the_query() -> None:
    assert choose([50, 5, 50], [0, 0, 5], negative_share=1.0) == {0}


def test_no_more_masks_than_asked() -> None:
    assert len(choose([50] * 9, [50] * 9)) == 4


def test_no_visible_mask_is_an_empty_choice() -> None:
    assert choose([5, 0], [5, 9]) == set()


def test_rare_sizes_are_drawn_as_often_as_common_ones() -> None:
    sizes = np.array([20] * 99 + [5000])
    rng = np.random.default_rng(0)
    hits = sum(
        99 in draw_visible(rng, sizes, sizes, num_masks=1, min_visible_vox=10, negative_share=0.0)
        for _ in range(400)
    )
    assert 140 < hits < 260


def test_one_changed_setting_of_a_view_leaves_the_others_as_they_are() -> None:
    changed = ViewConfig.model_validate(
        {"strong": {"max_degrees": 10}, "strong_intensity": {"noise_std": 0}}
    )
    assert changed.strong == ViewConfig().strong.model_copy(update={"max_degrees": 10.0})
    assert changed.strong_intensity.gain == ViewConfig().strong_intensity.gain


@pytest.mark.parametrize(
    "change",
    [
        {"gain": (1.1, 0.9)},
        {"gamma": (-1.0, 1.0)},
        {"contrast": (0.0, 1.0)},
        {"blur_vox": (-0.5, 1.0)},
        {"shift_std": -0.1},
        {"noise_std": -1.0},
    ],
)
def test_intensities_that_cannot_be_drawn_are_refused(change: dict[str, object]) -> None:
    for kind in (IntensityConfig, StrongIntensityConfig):
        with pytest.raises(ValidationError):
            kind.model_validate(change)
