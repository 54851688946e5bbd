"""Pairs of one scan: the masks of both views are one thing in two places."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker, ViewPair

CPU = torch.device("cpu")
CROP = (24, 24, 24)
PLAIN = {"p": 0.0}
STILL = ViewConfig.model_validate(
    {
        "num_masks": 6,
        "min_overlap": 1.0,
        "weak": PLAIN,
        "strong": {"p": 0.0, "bend_p": 0.0},
        "weak_intensity": PLAIN,
        "strong_intensity": PLAIN,
        "negative_share": 0.0,
        "far_share": 0.0,
    }
)


def maker(cases: list[StoredCase], config: ViewConfig) -> PairMaker:
    return PairMaker(cases, config, crop=CROP, batch_size=3, seed=7)


def pairs(cases: list[StoredCase], config: ViewConfig, step: int = 0) -> ViewPair:
    return maker(cases, config)(step, CPU)


def test_two_still_views_of_one_place_are_equal(cases: list[StoredCase]) -> None:
    made = pairs(cases, STILL)
    assert torch.equal(made.reference.image, made.query.image)
    assert torch.equal(made.reference.masks, made.query.masks)
    assert made.reference.masks.shape == (3, 6, *CROP)


@pytest.mark.parametrize("crop", [(16, 16, 16), (32, 16, 24)])
def test_views_have_the_size_that_was_asked_for(
    cases: list[StoredCase], crop: tuple[int, int, int]
) -> None:
    made = PairMaker(cases, ViewConfig(), crop=crop, batch_size=2, seed=7)(0, CPU)
    for view in (made.reference, made.query):
        assert view.image.shape == (2, 1, *crop)
        assert view.masks.shape[2:] == crop


def test_a_still_view_is_its_scan_around_the_centre(cases: list[StoredCase]) -> None:
    made = pairs(cases, STILL)
    by_id = {case.case_id: case for case in cases}
    offsets = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in CROP), indexing="ij")
    for i, case_id in enumerate(made.case_ids):
        case, view = by_id[case_id], made.reference.image[i, 0]
        centre = maker(cases, STILL).draw(0, i).warps[0].centre
        places = np.stack(offsets) + centre.reshape(3, 1, 1, 1)
        image = map_coordinates(
            case.read_image() - case.outside, places, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(view, image + case.outside, atol=5e-3)
        found = made.reference.masks[i][made.valid[i]].numpy()
        masks = case.read_masks(range(len(case.table)))
        crops = [
            [
                map_coordinates(
                    mask.astype(np.uint8),
                    places + np.reshape(nudge, (3, 1, 1, 1)),
                    order=0,
                    mode="grid-constant",
                )
                for nudge in product((-1e-3, 1e-3), repeat=3)
            ]
            for mask in masks
        ]
        for one in found:  # a place halfway between voxels may be rounded either way
            assert any(
                (one <= np.max(crop, axis=0)).all() and (one >= np.min(crop, axis=0)).all()
                for crop in crops
            )


def test_a_batch_is_a_function_of_seed_and_step(cases: list[StoredCase]) -> None:
    one, again, next_one = (pairs(cases, ViewConfig(), step) for step in (4, 4, 5))
    assert torch.equal(one.query.image, again.query.image)
    assert torch.equal(one.query.masks, again.query.masks)
    assert one.case_ids == again.case_ids
    assert not torch.equal(one.query.image, next_one.query.image)


def test_masks_that_count_are_seen_and_the_others_are_empty(cases: list[StoredCase]) -> None:
    config = ViewConfig.model_validate({**ViewConfig().plain(), "negative_share": 0.0})
    for step in range(3):
        made = pairs(cases, config, step)
        for view in (made.reference, made.query):
            seen = view.masks.flatten(2).sum(-1)
            assert (seen[made.valid] >= config.min_visible_vox).all()
            assert not seen[~made.valid].any()
