"""Views of several scans at once against each scan alone, and masks against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mass3d.store.reader import StoredCase
from mass3d.views.draw import Intensity, ViewConfig, Warp, draw_intensity, draw_warp
from mass3d.views.render import count_visible, render_masks, render_view

CPU = torch.device("cpu")
CROP = (16, 24, 16)


@pytest.fixture(name="cases", scope="module")
def three_cases(cases: list[StoredCase]) -> list[StoredCase]:
    return cases[:3]


def draws(cases: list[StoredCase]) -> tuple[list[Warp], list[Intensity]]:
    config, rng = ViewConfig(), np.random.default_rng(3)
    warps = [draw_warp(rng, np.array(case.shape) / 2, CROP, config.strong) for case in cases]
    return warps, [draw_intensity(rng, config.strong_intensity) for _ in cases]


def test_a_view_does_not_depend_on_the_others_of_its_batch(cases: list[StoredCase]) -> None:
    warps, intensities = draws(cases)
    together = render_view(cases, warps, intensities, crop=CROP, device=CPU)
    assert together.images.shape == (3, 1, *CROP)
    assert together.images.dtype == torch.float32
    for i, case in enumerate(cases):
        alone = render_view([case], [warps[i]], [intensities[i]], crop=CROP, device=CPU)
        torch.testing.assert_close(together.images[i], alone.images[0], atol=1e-4, rtol=1e-4)
        layers = alone.ranks.shape[1]
        same = together.ranks[i, :layers] == alone.ranks[0]
        assert same.float().mean() > 0.999  # the nearest of two equally near voxels may differ
        assert not together.ranks[i, layers:].any()  # layers that this scan lacks


def test_what_is_visible_is_counted_as_if_every_mask_were_made(cases: list[StoredCase]) -> None:
    warps, intensities = draws(cases)
    ranks = render_view(cases, warps, intensities, crop=CROP, device=CPU).ranks
    tables = [case.table for case in cases]
    for i, (table, counts) in enumerate(zip(tables, count_visible(ranks, tables), strict=True)):
        expected = [
            int(table.inside(row, ranks[i, table.layer[row]].numpy().astype(np.uint32)).sum())
            for row in range(len(table))
        ]
        assert counts.tolist() == expected
        assert sum(expected) > 0


def test_masks_are_their_intervals_of_ranks_and_missing_ones_are_empty(
    cases: list[StoredCase],
) -> None:
    warps, intensities = draws(cases)
    ranks = render_view(cases, warps, intensities, crop=CROP, device=CPU).ranks
    tables = [case.table for case in cases]
    rows = [np.argsort(-counts)[: 4 - i] for i, counts in enumerate(count_visible(ranks, tables))]
    masks = render_masks(ranks, tables, rows, 5)
    assert masks.shape == (3, 5, *CROP)
    assert masks.dtype == torch.bool
    for i, (table, wanted) in enumerate(zip(tables, rows, strict=True)):
        for k, row in enumerate(wanted):
            rank_map = ranks[i, table.layer[row]].numpy().astype(np.uint32)
            np.testing.assert_array_equal(masks[i, k].numpy(), table.inside(row, rank_map))
        assert not masks[i, len(wanted) :].any()
