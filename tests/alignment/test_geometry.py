"""Places and interpolation against scipy and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from mass3d.alignment.geometry import apply_affine, cell_centres, composed, sampled, within

DRAW = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("stride", "origin"), [(1, (0, 0, 0)), (4, (3, 0, 7))])
def test_a_map_is_sampled_as_scipy_does(stride: int, origin: tuple[int, int, int]) -> None:
    cells = torch.randn(2, 5, 6, 7, generator=DRAW)
    size = stride * torch.tensor(cells.shape[1:])
    # some points lie outside, where the edge is repeated
    points = torch.rand(3, 4, 5, 3, generator=DRAW) * (size + 6) + torch.tensor(origin) - 3
    found = sampled(cells, points, stride, origin)
    places = (points - torch.tensor(origin) - (stride - 1) / 2) / stride
    for channel, expected in zip(found, cells, strict=True):
        plain = map_coordinates(expected, places.permute(3, 0, 1, 2), order=1, mode="nearest")
        np.testing.assert_allclose(channel, plain, atol=1e-4)


def test_a_map_at_its_own_centres_is_itself() -> None:
    cells = torch.randn(2, 5, 6, 7, generator=DRAW)
    centres = cell_centres(cells.shape[1:], 4, (3, 0, 7))
    assert centres[0, 0, 0].tolist() == [4.5, 1.5, 8.5]
    torch.testing.assert_close(sampled(cells, centres, 4, (3, 0, 7)), cells, atol=1e-5, rtol=1e-5)


def test_a_voxel_belongs_to_a_box_up_to_its_faces() -> None:
    points = torch.tensor([[-0.4, 0, 0], [-0.6, 0, 0], [2.4, 3.4, 4.4], [2.6, 0, 0]])
    assert within(points, (3, 4, 5), (0, 0, 0)).tolist() == [1, 0, 1, 0]


def test_two_affine_maps_in_one() -> None:
    affine, delta = (torch.randn(3, 4, generator=DRAW) for _ in range(2))
    centre, size = torch.randn(3, generator=DRAW), torch.tensor(7.0)
    points = torch.randn(6, 3, generator=DRAW)
    moved = points + apply_affine(delta, (points - centre) / size)
    found = apply_affine(composed(affine, delta, centre, size), points)
    torch.testing.assert_close(found, apply_affine(affine, moved), atol=1e-5, rtol=1e-5)
