import numpy as np
import pytest
import torch

from mass3d.views.draw import Warp, rotation
from mass3d.views.warp import (
    sample_grid,
    source_box,
    stack_padded,
    subtract_fill,
    warp_images,
    warp_ranks,
)

CPU = torch.device("cpu")
SHAPE = (20, 24, 18)


def ramp() -> np.ndarray:
    d, h, w = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return (1.0 * d + 100.0 * h + 10000.0 * w).astype(np.float32)


def apply(warp: Warp, crop: tuple[int, int, int], fill: float = 0.0) -> np.ndarray:
    """Read only the box the warp touches, as training does."""
    box = source_box(warp, crop, SHAPE)
    block = ramp()[box][None]
    d, h, w = block.shape[1:]
    grid = sample_grid([warp], [box], crop, (d, h, w), CPU)
    images = subtract_fill(stack_padded([block], CPU), [box], [fill])
    image = warp_images(images, grid, torch.tensor([fill]))
    return image[0, 0].numpy()


def test_the_identity_is_a_crop() -> None:
    crop = (6, 8, 4)
    warp = Warp(np.array([9.5, 11.5, 8.5]), np.eye(3), None)
    np.testing.assert_allclose(apply(warp, crop), ramp()[7:13, 8:16, 7:11], rtol=1e-4)


def test_a_linear_image_is_sampled_exactly_under_any_warp() -> None:
    crop, centre = (6, 6, 6), np.array([9.3, 12.1, 8.4])
    matrix = rotation(np.array([0.4, -0.2, 0.3])) @ np.diag([1.1, 0.8, 0.9])
    offsets = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in crop), indexing="ij"), -1)
    points = offsets @ matrix.T + centre
    expected = points @ np.array([1.0, 100.0, 10000.0])
    np.testing.assert_allclose(apply(Warp(centre, matrix, None), crop), expected, rtol=1e-3)


def test_a_quarter_turn_of_a_non_cubic_crop_is_a_rotation_without_shear() -> None:
    crop, centre = (4, 8, 6), np.array([9.5, 11.5, 8.5])
    quarter = rotation(np.array([np.pi / 2, 0, 0]))
    turned = apply(Warp(centre, quarter, None), crop)
    straight = apply(Warp(centre, np.eye(3), None), (4, 6, 8))
    np.testing.assert_allclose(turned, np.rot90(straight, k=-1, axes=(1, 2)), rtol=1e-3)


def test_outside_the_scan_is_the_fill_value() -> None:
    corner = Warp(np.full(3, -0.5), np.eye(3), None)
    image = apply(corner, (8, 8, 8), fill=-7.0)
    assert (image[:3] == -7).all()
    np.testing.assert_allclose(image[4:, 4:, 4:], ramp()[:4, :4, :4], atol=0.6)


def test_image_and_ranks_move_together() -> None:
    values = np.random.default_rng(0).integers(1, 60000, SHAPE)
    bend = np.random.default_rng(1).normal(size=(3, 4, 4, 4)).astype(np.float32)
    warp = Warp(np.array([9.0, 11.0, 8.0]), rotation(np.array([0.2, 0.5, 0.1])), bend)
    box = source_box(warp, (8, 8, 8), SHAPE)
    block = values[box][None].astype(np.float32)
    d, h, w = block.shape[1:]
    grid = sample_grid([warp], [box], (8, 8, 8), (d, h, w), CPU)
    ranks = warp_ranks(stack_padded([block], CPU), grid)
    nearest = torch.nn.functional.grid_sample(
        torch.from_numpy(block)[None], grid, mode="nearest", align_corners=False
    )
    assert torch.equal(ranks.float(), nearest)
    assert set(ranks.unique().tolist()) <= {0, *values.ravel().tolist()}


@pytest.mark.parametrize("centre", [(-50.0, 5.0, 5.0), (5.0, 500.0, 5.0)])
def test_a_box_outside_the_scan_still_has_a_voxel(centre: tuple[float, float, float]) -> None:
    box = source_box(Warp(np.array(centre), np.eye(3), None), (4, 4, 4), SHAPE)
    assert all(0 <= s.start < s.stop <= n for s, n in zip(box, SHAPE, strict=True))
