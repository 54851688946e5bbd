"""Matched pairs: what is known of two views must be so."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.matched import MatchedMaker, cell_centres
from mass3d.views.mates import Pair, draw_mates
from mass3d.views.ways import Way, find_ways

CPU = torch.device("cpu")
CROP = (32, 32, 32)
PLAIN = {"p": 0.0}
STILL = ViewConfig.model_validate(
    {
        "num_masks": 6,
        "min_overlap": 1.0,
        "weak": PLAIN,
        "strong": {"p": 0.0, "bend_p": 0.0},
        "weak_intensity": PLAIN,
        "strong_intensity": PLAIN,
        "prior_error_vox": 0.0,
    }
)
MOVED = STILL.model_copy(
    update={"strong": STILL.strong.model_copy(update={"p": 1.0, "bend_p": 1.0, "max_degrees": 15})}
)


@pytest.fixture(scope="module")
def ways(cases: list[StoredCase], tmp_path_factory: pytest.TempPathFactory) -> dict[Pair, Way]:
    cache = tmp_path_factory.mktemp("ways") / "ways.npz"
    return find_ways(cases, draw_mates([""] * len(cases), 8, seed=0), cache=cache, workers=1)


def maker(cases: list[StoredCase], ways: dict[Pair, Way], config: ViewConfig) -> MatchedMaker:
    return MatchedMaker(cases, ways, config, CROP, batch_size=2, seed=0)


def test_a_still_pair_shows_the_same_twice(cases: list[StoredCase]) -> None:
    pairs = maker(cases, {}, STILL)(0, CPU)
    assert torch.equal(pairs.reference.image, pairs.query.image)
    assert torch.equal(pairs.reference.masks, pairs.query.masks)
    torch.testing.assert_close(pairs.query.prior, pairs.query.masks, atol=1e-4, rtol=0)
    cells = (torch.from_numpy(cell_centres(CROP)).float() - 0.5) / 2
    torch.testing.assert_close(pairs.matches.place[0], cells, atol=1e-3, rtol=0)
    assert not pairs.across.any()


def test_places_say_where_a_moved_view_is_in_the_other(cases: list[StoredCase]) -> None:
    """The reference read at the true places of the query's cells is the query."""
    pairs = maker(cases, {}, MOVED)(1, CPU)
    size = torch.tensor([n // 2 for n in CROP])
    for reference, query, place, inside in zip(
        pairs.reference.image, pairs.query.image, *pairs.matches, strict=True
    ):
        grid = ((2 * place + 1) / size - 1).flip(-1)[None, None, None]
        coarse = F.avg_pool3d(reference[None], 2)
        found = F.grid_sample(coarse, grid, align_corners=False)[0, 0, 0, 0][inside]
        wanted = F.avg_pool3d(query[None], 2).flatten()[inside]
        assert 0.2 < inside.float().mean() < 1
        assert np.corrcoef(found.numpy(), wanted.numpy())[0, 1] > 0.9


def test_two_scans_are_shown_with_masks_that_meet(
    cases: list[StoredCase], ways: dict[Pair, Way]
) -> None:
    config = STILL.model_copy(update={"across_share": 1.0})
    seen = 0
    for step in range(4):
        pairs = maker(cases, ways, config)(step, CPU)
        assert pairs.valid.sum() > 0
        both = zip(pairs.query.masks[pairs.valid], pairs.query.prior[pairs.valid], strict=True)
        for mask, prior in both:
            overlap = torch.minimum(mask, prior).sum() / torch.maximum(mask, prior).sum()
            assert overlap > 0.3  # more than one half before cells were made of the voxels
        seen += int(pairs.across.sum())
        empty = pairs.query.masks[~pairs.valid]
        assert not empty.any()
    assert seen >= 4


def test_the_same_step_is_the_same_batch(cases: list[StoredCase], ways: dict[Pair, Way]) -> None:
    first, again = (maker(cases, ways, MOVED)(3, CPU) for _ in range(2))
    assert torch.equal(first.query.image, again.query.image)
    assert torch.equal(first.query.prior, again.query.prior)
    assert torch.equal(first.matches.place, again.matches.place)
    assert first.case_ids == again.case_ids
    other = maker(cases, ways, MOVED)(4, CPU)
    assert not torch.equal(first.query.image, other.query.image)
