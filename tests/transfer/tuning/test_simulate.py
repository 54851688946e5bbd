from __future__ import annotations

import numpy as np
import pytest
import torch

from mass3d.transfer.tuning.settings import SimulationConfig
from mass3d.transfer.tuning.simulate import affine_noise, moved, simulate_view, smooth_noise

SHAPE = (20, 26, 23)
STILL = SimulationConfig(
    anatomy_vox=0, degrees=0, scale=0, residual_vox=0, rough_vox=0, gamma=0, gain=0, offset=0,
    bias=0, noise=0,
)  # fmt: skip


@pytest.mark.parametrize("nodes_vox", [3.0, 7.0, 14.0, 100.0])
def test_smooth_noise_is_linear_between_nodes_of_the_wanted_deviation(nodes_vox: float) -> None:
    rng = np.random.default_rng(0)
    noise = smooth_noise(rng, (60, 9, 8), 2.0, nodes_vox, 40)
    assert noise.shape == (40, 60, 9, 8)
    assert 0.8 < float(noise.std()) < 2.2
    curved = noise[:, 2:] - 2 * noise[:, 1:-1] + noise[:, :-2]
    bends = (curved.abs() > 1e-4).any(0).any(-1).any(-1)
    assert bends.sum() <= 2 * (60 / nodes_vox + 2)


def test_an_affine_displacement_is_affine() -> None:
    field = affine_noise(np.random.default_rng(0), SHAPE, 20, 0.1, 2.0)
    for axis in (1, 2, 3):
        steps = field.diff(dim=axis)
        torch.testing.assert_close(
            steps, steps.narrow(axis, 0, 1).expand_as(steps), atol=1e-4, rtol=0
        )


def test_a_shift_by_whole_voxels_shifts() -> None:
    x = torch.randn(2, *SHAPE)
    shift = torch.tensor([1.0, -2.0, 0.0]).view(3, 1, 1, 1).expand(3, *SHAPE)
    torch.testing.assert_close(moved(x, shift)[:, :-1, 2:], x[:, 1:, :-2], atol=1e-4, rtol=1e-4)


def test_a_view_without_any_change_moves_only_by_a_little() -> None:
    """What stays is a shift by about a voxel, of scan and prior alike."""
    image, label = torch.randn(SHAPE), torch.zeros(SHAPE, dtype=torch.long)
    label[4:12, 5:20, 6:15] = 1
    view = simulate_view(np.random.default_rng(0), image, label, 1, STILL)
    truth = (view.label == 1).float()
    assert 0.8 * 8 * 15 * 9 < truth.sum() < 1.2 * 8 * 15 * 9
    assert (view.prior[0] - truth).abs().sum() < 0.3 * truth.sum()


def test_a_larger_residual_makes_the_prior_worse() -> None:
    image, label = torch.randn(SHAPE), torch.zeros(SHAPE, dtype=torch.long)
    label[4:12, 5:20, 6:15] = 1

    def wrong(residual_vox: float) -> float:
        config = SimulationConfig(residual_vox=residual_vox)
        views = [
            simulate_view(np.random.default_rng(seed), image, label, 1, config) for seed in range(6)
        ]
        return float(np.mean([(v.prior[0] - (v.label == 1).float()).abs().sum() for v in views]))

    assert wrong(0.2) < wrong(0.8) < wrong(2.0)


def test_the_same_draws_give_the_same_view_and_others_another() -> None:
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    label = (image > 1).long()
    one, same, other = (
        simulate_view(np.random.default_rng(seed), image, label, 1, SimulationConfig())
        for seed in (1, 1, 2)
    )
    assert one.image.equal(same.image)
    assert one.prior.equal(same.prior)
    assert not one.image.equal(other.image)


def test_a_flat_image_stays_finite() -> None:
    label = torch.ones(SHAPE, dtype=torch.long)
    view = simulate_view(np.random.default_rng(0), torch.zeros(SHAPE), label, 1, SimulationConfig())
    assert view.image.isfinite().all()
