import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mass3d.model import ridge


def test_the_fit_is_the_minimum_of_what_it_says() -> None:
    """Against plain normal equations, mask by mask."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 50, 7, generator=generator)
    y = torch.randn(2, 3, 50, 2, generator=generator)
    weights = ridge.fit(x, y, torch.tensor(0.3))
    keep = np.diag([1.0] * 6 + [ridge.FREE])
    for b in range(2):
        for k in range(3):
            a, t = x[b, k].double().numpy(), y[b, k].double().numpy()
            wanted = np.linalg.solve(a.T @ a / 50 + 0.3 * keep, a.T @ t / 50)
            np.testing.assert_allclose(weights[b, k].numpy(), wanted, rtol=1e-3, atol=1e-4)


def test_inputs_are_features_two_priors_and_a_constant() -> None:
    features = torch.randn(1, 5, 11)
    prior, wide = torch.rand(1, 2, 11), torch.rand(1, 2, 11)
    x = ridge.inputs(features, prior, wide)
    assert x.shape == (1, 2, 11, 8)
    for mask in range(2):
        assert torch.equal(x[0, mask, :, :5], features[0].T)
        expected = torch.log(prior[0, mask] + ridge.FLOOR) / 3
        torch.testing.assert_close(x[0, mask, :, 5], expected)
        assert torch.equal(x[0, mask, :, 7], torch.ones(11))
    own = torch.randn(1, 5, 2, 11)
    assert torch.equal(ridge.inputs(own, prior, wide)[0, 1, :, :5], own[0, :, 1].T)


def test_a_blurred_prior_keeps_its_place_and_loses_its_border() -> None:
    prior = torch.zeros(1, 1, 20, 20, 20)
    prior[..., 8:12, 8:12, 8:12] = 1
    near, far = ridge.widened(prior), ridge.far_blurred(prior)
    for blurred in (near, far):
        torch.testing.assert_close(blurred.sum(), prior.sum())
        centre = (blurred[0, 0].sum((1, 2)) * torch.arange(20.0)).sum() / blurred.sum()
        torch.testing.assert_close(centre, torch.tensor(9.5))
    assert prior.max() > near.max() > far.max()


def test_maps_smaller_than_the_blur_are_blurred_as_far_as_they_go() -> None:
    assert ridge.far_blurred(torch.ones(1, 1, 2, 4, 3)).shape == (1, 1, 2, 4, 3)


@pytest.mark.parametrize("shape", [(9, 12, 10), (2, 4, 3), (1, 5, 2)])
def test_blurs_are_means_over_cubes_with_zeros_around(shape: tuple[int, int, int]) -> None:
    prior = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    expected = prior
    for size in (3, 3, 5, 5):
        sizes = [min(size, n if n % 2 else n - 1) for n in shape]
        expected = F.avg_pool3d(expected, sizes, 1, [n // 2 for n in sizes])
    torch.testing.assert_close(ridge.far_blurred(prior), expected)
