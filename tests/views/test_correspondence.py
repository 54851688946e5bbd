"""What the warps say of places, against the images that they make."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mass3d.views.correspondence import bend_at, to_scan, to_view
from mass3d.views.draw import Warp, WarpConfig, draw_warp
from mass3d.views.warp import sample_grid
from mass3d.volume.box import whole_box

CROP = (16, 12, 20)
CPU = torch.device("cpu")
FULL = WarpConfig(p=1.0, bend_p=1.0, max_degrees=40, max_shear=0.1)
STILL = Warp(np.array([30.0, 28.0, 26.0]), np.eye(3), None)


def drawn(seed: int) -> Warp:
    rng = np.random.default_rng(seed)
    return draw_warp(rng, rng.uniform(20, 40, 3), CROP, FULL)


def points(seed: int, number: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (number, 3)) * (np.array(CROP) - 1)


@pytest.mark.parametrize("seed", range(8))
def test_places_are_where_the_image_is_sampled(seed: int) -> None:
    """Against the grid that torch samples by, voxel for voxel."""
    warp, shape = drawn(seed), (64, 60, 56)
    grid = sample_grid([warp], [whole_box(shape)], CROP, shape, CPU)[0].double().numpy()
    sampled = ((grid[..., ::-1] + 1) * np.array(shape) - 1) / 2
    voxels = np.indices(CROP).reshape(3, -1).T.astype(float)
    np.testing.assert_allclose(to_scan(warp, voxels, CROP), sampled.reshape(-1, 3), atol=2e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_way_back_is_the_inverse_within_and_around_a_view(seed: int) -> None:
    warp = drawn(seed)
    near = points(seed)
    far = near * 3 - np.array(CROP)
    for wanted in (near, far):
        np.testing.assert_allclose(
            to_view(warp, to_scan(warp, wanted, CROP), CROP), wanted, atol=1e-4
        )


def test_a_bend_is_linear_between_its_nodes_and_goes_on_at_the_border() -> None:
    bend = np.random.default_rng(0).normal(size=(3, 4, 4, 4)).astype(np.float32)
    warp = Warp(np.zeros(3), np.eye(3), bend)
    ends = np.array(CROP) - 1
    for node in ((0, 0, 0), (3, 3, 3), (1, 2, 0)):
        at = np.array([node]) / 3 * ends
        np.testing.assert_allclose(
            bend_at(warp, at, CROP)[0], bend[(slice(None), *node)], atol=1e-5
        )
    half = np.array([[0.5 / 3, 0, 0]]) * ends
    np.testing.assert_allclose(
        bend_at(warp, half, CROP)[0], (bend[:, 0, 0, 0] + bend[:, 1, 0, 0]) / 2, atol=1e-5
    )
    np.testing.assert_allclose(
        bend_at(warp, np.array([[-50.0, -50, -50]]), CROP)[0], bend[:, 0, 0, 0], atol=1e-5
    )
    assert not np.any(bend_at(STILL, half, CROP))
