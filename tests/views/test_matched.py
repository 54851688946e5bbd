"""Matched pairs: what is known of two views must be so."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mass3d.store.reader import Store, StoredCase
from mass3d.views.carried import Shown, carry_masks, displace, snap
from mass3d.views.draw import ViewConfig
from mass3d.views.matched import MatchedMaker, cell_centres
from mass3d.views.mates import Pair, Way, draw_mates, find_ways

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
def cases(store: Path) -> list[StoredCase]:
    opened = Store.open(store)
    return [opened.case(case_id) for case_id in opened.case_ids]


@pytest.fixture(scope="module")
def ways(cases: list[StoredCase], tmp_path_factory: pytest.TempPathFactory) -> dict[Pair, Way]:
    cache = tmp_path_factory.mktemp("ways") / "ways.npz"
    return find_ways(cases, draw_mates(len(cases), 8, seed=0), cache=cache, workers=1)


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


def test_masks_carried_to_the_scan_itself_are_its_own(cases: list[StoredCase]) -> None:
    case, crop = cases[0], (16, 16, 16)
    start = (np.array(case.shape) - 16) // 2
    carried = carry_masks(case, cell_centres(crop) + start, crop)
    box = tuple(slice(s, s + 16) for s in start.tolist())
    own = case.read_layers((box[0], box[1], box[2]))
    # voxels at the rim of the view are extrapolated from cells
    inner = (slice(None), *[slice(1, -1)] * 3)
    np.testing.assert_array_equal(carried.ranks[0].numpy()[inner], own[inner])
    outside = carry_masks(case, cell_centres(crop) - 1000, crop)
    assert not outside.ranks.any()


def test_a_mask_is_snapped_to_the_one_it_meets_most(cases: list[StoredCase]) -> None:
    """Against counting voxels of masks that are made, one after the other."""
    case = cases[0]
    ranks = torch.from_numpy(case.read_layers().astype(np.int32))[None]
    own, moved = Shown(ranks, case.table), Shown(ranks.roll(1, 3), case.table)
    rows = np.flatnonzero(own.voxels() > 40)[::25]
    theirs, ours = snap(moved, rows, own, num_masks=100, min_visible_vox=16)
    assert 0 < len(theirs) <= len(rows)
    voxels = own.voxels()
    every = np.flatnonzero((voxels >= 16) & (voxels < own.max_voxels))
    masks = case.read_masks(every.tolist())
    for row, met in list(zip(theirs, ours, strict=True))[:8]:
        mask = np.roll(case.read_masks([int(row)])[0], 1, 1)
        shared = (masks & mask).sum((1, 2, 3))
        iou = shared / (masks | mask).sum((1, 2, 3))
        assert iou.max() > 0.5
        assert iou[list(every).index(met)] == pytest.approx(iou.max())


def test_masks_are_displaced_by_about_as_much_as_is_asked() -> None:
    place = torch.arange(24.0).view(1, 24, 1, 1).expand(1, 24, 16, 16).contiguous()
    rng = np.random.default_rng(0)
    moved = [displace(place, 2.0, rng) - place for _ in range(30)]
    inner = torch.stack(moved)[:, 0, 6:-6, 4:-4, 4:-4]
    assert 0.5 < float(inner.std()) < 1.5  # cells of two voxels
    still = displace(place, 0.0, rng)
    torch.testing.assert_close(still, place, atol=1e-4, rtol=0)
