from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mass3d.views.labelled import (
    MAX_PLACES,
    UNKNOWN,
    LabelledCase,
    LabelledMaker,
    LabelledViewConfig,
    draw_centre,
    draw_small_intensity,
    draw_small_warp,
)

CPU = torch.device("cpu")
CROP = (16, 16, 24)
STILL = LabelledViewConfig(
    degrees=0, scale=0, bend_vox=0, gain=0, shift=0, gamma=0, blur_p=0, max_noise=0
)


def made_case(shape: tuple[int, int, int] = (40, 44, 30), *, name: str = "one") -> LabelledCase:
    """A bright ball, numbered 1, and a small dim box, numbered 3; 2 is nowhere."""
    d, h, w = np.indices(shape)
    label = np.zeros(shape, np.uint8)
    label[(d - 12) ** 2 + (h - 30) ** 2 + (w - 10) ** 2 < 36] = 1
    label[30:33, 8:12, 20:24] = 3
    image = np.array([0, 2, 9, -2], np.float16)[label]
    return LabelledCase(name, image, label, 0.0, (True, True, True))


def maker(cases: list[LabelledCase], config: LabelledViewConfig, seed: int = 0) -> LabelledMaker:
    return LabelledMaker(cases, CROP, 2, seed, config)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    cases = [made_case(), made_case((30, 60, 33), name="two")]
    make = maker(cases, LabelledViewConfig())
    first, again = make(7, CPU), maker(cases, LabelledViewConfig())(7, CPU)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.label, again.label)
    for other in (make(8, CPU), maker(cases, LabelledViewConfig(), seed=1)(7, CPU)):
        assert not torch.equal(first.image, other.image)


def test_all_cases_are_seen_equally_often() -> None:
    make = maker([made_case(name=name) for name in "abcd"], STILL)
    seen = [name for step in range(4) for name in make(step, CPU).case_ids]
    assert sorted(seen) == sorted("abcd" * 2)


def test_a_crop_that_is_not_moved_has_the_voxels_of_the_scan() -> None:
    case = made_case()
    config = STILL.model_copy(update={"moved": 0.0, "degrees": 20.0, "bend_vox": 2.0})
    for step in range(3):
        for image, label in zip(*maker([case], config)(step, CPU)[:2], strict=True):
            value = torch.tensor([0.0, 2.0, 9.0, -2.0])[label]
            torch.testing.assert_close(image[0], value, atol=1e-3, rtol=0)
            assert label.any()


def test_fewer_crops_are_moved_where_more_scans_are_labelled() -> None:
    def shares(count: int, **numbers: float) -> float:
        config = LabelledViewConfig(**numbers)  # type: ignore[arg-type]
        return maker([made_case(name=str(n)) for n in range(count)], config).moved

    assert [shares(count) for count in (1, 2, 3, 4, 50)] == [1.0, 0.5, 1 / 3, 0.3, 0.3]
    assert shares(50, moved=1.0) == 1.0


def test_the_share_of_moved_crops_is_kept() -> None:
    config = STILL.model_copy(update={"moved": 0.3, "degrees": 20.0})
    make = maker([made_case()], config)
    values = torch.tensor([0.0, 2.0, 9.0, -2.0])
    moved = [
        (image[0] - values[label]).abs().max() > 0.1
        for step in range(60)
        for image, label in zip(*make(step, CPU)[:2], strict=True)
    ]
    assert 0.15 < float(np.mean(moved)) < 0.45


def test_the_label_moves_with_the_image() -> None:
    config = STILL.model_copy(update={"degrees": 20.0, "scale": 0.1, "bend_vox": 2.0})
    views = maker([made_case()], config)(0, CPU)
    assert views.image.shape == (2, 1, *CROP)
    assert views.label.dtype == torch.int64
    value = torch.tensor([0.0, 2.0, 9.0, -2.0])[views.label]
    agree = (views.image[:, 0] - value).abs() < 1.01  # but for half a voxel at the borders
    assert agree.float().mean() > 0.98
    assert (views.label > 0).any()


def test_without_any_change_a_view_is_a_crop_of_the_scan() -> None:
    case = made_case()
    views = maker([case], STILL.model_copy(update={"jitter_vox": 0.0}))(3, CPU)
    # the middle of an even crop lies between two voxels, so the nearest one decides
    assert set(views.label.unique().tolist()) <= {0, 1, 3}
    assert torch.isin(views.label, torch.tensor([1, 3])).flatten(1).any(1).all()


def test_structures_are_shown_equally_often_whatever_their_size() -> None:
    case = made_case((80, 88, 90))
    rng = np.random.default_rng(0)
    near = [draw_centre(rng, case, (8, 8, 8), jitter_vox=0.0) for _ in range(200)]
    small = sum(bool(case.label[tuple(np.round(c).astype(int))] == 3) for c in near)
    assert 70 < small < 130


def test_a_crop_keeps_to_the_scan_and_shows_a_small_one_as_a_whole() -> None:
    case, rng = made_case((100, 20, 60)), np.random.default_rng(1)
    centres = np.array([draw_centre(rng, case, (20, 40, 20), jitter_vox=60) for _ in range(300)])
    assert centres[:, 0].min() >= 8
    assert centres[:, 0].max() <= 99 - 8
    assert centres[:, 2].max() <= 59 - 8
    assert abs(centres[:, 1].mean() - 9.5) < 1  # 40 voxels show all of 20
    assert 2 < centres[:, 1].std() < 4


def test_a_scan_without_structures_is_shown_anywhere() -> None:
    empty = LabelledCase(
        "none", np.zeros((50, 50, 50), np.float16), np.zeros((50, 50, 50), np.uint8), 0.0, (True,)
    )
    rng = np.random.default_rng(2)
    centres = np.array([draw_centre(rng, empty, (10, 10, 10), jitter_vox=0) for _ in range(200)])
    assert centres.std(0).min() > 8


def test_voxels_that_nobody_annotated_are_no_structure_to_look_for() -> None:
    case = made_case()
    case.label[:5] = UNKNOWN
    assert sorted(case.places) == [1, 3]


def test_of_a_large_structure_some_voxels_are_kept_all_over_it() -> None:
    label = np.ones((40, 40, 40), np.uint8)
    case = LabelledCase("all", np.zeros(label.shape, np.float16), label, 0.0, (True,))
    places = case.places[1]
    assert MAX_PLACES / 2 < len(places) <= MAX_PLACES
    assert np.abs(places.mean(0) - 19.5).max() < 0.5


def test_what_scans_do_not_tell_about_structures_goes_with_their_views() -> None:
    sure, unsure = made_case(name="a"), made_case(name="b")
    unsure = LabelledCase("b", unsure.image, unsure.label, 0.0, (True, False, True))
    views = maker([sure, unsure], STILL)(0, CPU)
    assert views.known is not None
    told = dict(zip(views.case_ids, views.known.tolist(), strict=True))
    assert told == {"a": [True, True, True], "b": [True, False, True]}
    assert maker([sure], STILL)(0, CPU).known is None


@pytest.mark.parametrize("seed", range(3))
def test_changes_are_as_large_as_the_settings_say(seed: int) -> None:
    config = LabelledViewConfig(degrees=5, scale=0, bend_vox=1.5, gain=0.1, shift=0.2)
    rng = np.random.default_rng(seed)
    warps = [draw_small_warp(rng, np.zeros(3), CROP, config) for _ in range(300)]
    angles = [np.arccos((np.trace(w.matrix) - 1) / 2) for w in warps]
    # three normal angles of 5 degrees: the mean length is 5 sqrt(8 / pi)
    assert np.rad2deg(np.mean(angles)) == pytest.approx(5 * np.sqrt(8 / np.pi), rel=0.12)
    bends = [w.bend for w in warps if w.bend is not None]
    assert bends[0].shape == (3, 3, 3, 3)  # a node every 12 voxels and one at each end
    assert np.std(bends) == pytest.approx(1.5, rel=0.05)
    lights = [draw_small_intensity(rng, config) for _ in range(600)]
    assert np.std([np.log(one.gain) for one in lights]) == pytest.approx(0.1, rel=0.15)
    assert np.std([one.shift for one in lights]) == pytest.approx(0.2, rel=0.15)
    assert np.mean([one.blur_vox > 0 for one in lights]) == pytest.approx(0.3, abs=0.08)
    assert 0.08 < max(one.noise_std for one in lights) <= 0.1


def with_channel(case: LabelledCase, factor: float, outside: float = 0.0) -> LabelledCase:
    """A case with a second channel, the first one times a factor."""
    image = (case.image * np.float16(factor)).astype(np.float16)
    return replace(case, others=(replace(case, image=image, outside=outside),))


def test_all_channels_of_a_crop_are_moved_alike() -> None:
    moving = STILL.model_copy(update={"moved": 1.0, "degrees": 20.0, "bend_vox": 2.0})
    for step in range(3):
        image = maker([with_channel(made_case(), 2.0)], moving)(step, CPU).image
        assert image.shape == (2, 2, *CROP)
        torch.testing.assert_close(image[:, 1], 2 * image[:, 0], atol=1e-2, rtol=0)


def test_intensities_change_by_channel_and_what_lies_outside_too() -> None:
    gained = STILL.model_copy(update={"gain": 0.5})
    image = maker([with_channel(made_case(), 1.0)], gained)(0, CPU).image
    assert not torch.allclose(image[:, 0], image[:, 1], atol=1e-2)
    small = with_channel(made_case((40, 44, 12)), 1.0, outside=5.0)  # shorter than the crop
    image = maker([small], STILL)(0, CPU).image
    assert (image[:, 0] == 0).any()
    assert (image[:, 1] == 5).any()


def test_the_first_channel_is_drawn_as_if_it_were_alone() -> None:
    cases = [made_case(), made_case((30, 60, 33), name="two")]
    alone = maker(cases, LabelledViewConfig())
    both = maker([with_channel(case, 2.0) for case in cases], LabelledViewConfig())
    for step in range(4):
        one, two = alone(step, CPU), both(step, CPU)
        assert one.image.numpy().tobytes() == two.image[:, :1].contiguous().numpy().tobytes()
        assert torch.equal(one.label, two.label)
        assert one.case_ids == two.case_ids
