from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mass3d.masks.packing import encode
from mass3d.pages.mask_pictures import GAP, beside, proposal_pictures, size_groups
from mass3d.store.reader import Store


def test_pictures_in_a_row_keep_their_pixels_and_stand_in_the_middle() -> None:
    tall, low = np.full((6, 2, 3), 7, np.uint8), np.full((2, 3, 3), 9, np.uint8)
    row = beside([tall, low])
    assert row.shape == (6, 5 + GAP, 3)
    assert (row[:, :2] == 7).all()
    assert (row[2:4, 2 + GAP :] == 9).all()
    assert (row[[0, 1, 4, 5], 2 + GAP :] == 0).all()


def test_groups_share_the_range_of_log_sizes() -> None:
    masks = []
    for edge in (1, 4, 16):
        mask = np.zeros((16, 16, 16), bool)
        mask[:edge, :edge, :edge] = True
        masks.append(mask)
    (_, large, _), (_, medium, _), (_, _, small) = size_groups(encode(masks), voxel_ml=2.0)
    assert (large, medium, small) == pytest.approx((2 * 4096 ** (2 / 3), 2 * 16, 2 * 16))
    assert size_groups(encode([], shape=(4, 4, 4)), voxel_ml=1.0) == []


def test_a_scan_is_shown_bare_and_with_masks_of_each_group_along_three_axes(store: Path) -> None:
    case = Store.open(store).case(Store.open(store).case_ids[0])
    bare, *groups = proposal_pictures(case, height=60)
    assert [picture.title for picture in groups] == ["Large masks", "Medium masks", "Small masks"]
    counts = [int(picture.note.split()[0]) for picture in groups]
    assert sum(counts) == len(case.table)
    edges = np.array(case.shape) * case.grid.spacing_mm
    widths = [60 * edges[2] / edges[1], 60 * edges[2] / edges[0], 60 * edges[1] / edges[0]]
    assert abs(bare.pixels.shape[1] - sum(widths) - 2 * GAP) <= 3
    assert bare.pixels.shape[0] in (60, 61)
    assert (np.ptp(bare.pixels, axis=2) == 0).all()  # grey
    for picture in groups:
        assert picture.pixels.shape == bare.pixels.shape
        assert (np.ptp(picture.pixels, axis=2) > 30).any()  # in colour
