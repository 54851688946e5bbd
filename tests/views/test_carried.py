"""Masks carried from scan to scan: what they are, what they meet, and how they are made wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mass3d.store.reader import StoredCase
from mass3d.views.carried import Shown, carry_masks, displace, snap
from mass3d.views.matched import cell_centres


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
