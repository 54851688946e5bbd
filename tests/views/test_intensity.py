from dataclasses import replace

import pytest
import torch

from mass3d.views.draw import Intensity
from mass3d.views.intensity import apply_intensity, blur, contrast, gamma

NEUTRAL = Intensity(gain=1, shift=0, gamma=1, contrast=1, blur_vox=0, noise_std=0, noise_seed=0)
STRONG = Intensity(
    gain=1.2, shift=0.3, gamma=0.8, contrast=1.3, blur_vox=1.2, noise_std=0.04, noise_seed=5
)


def image() -> torch.Tensor:
    return torch.randn(2, 1, 8, 9, 10, generator=torch.Generator().manual_seed(0))


def test_neutral_draws_change_nothing() -> None:
    assert torch.equal(apply_intensity(image(), [NEUTRAL, NEUTRAL]), image())


def test_every_image_gets_its_own_draw() -> None:
    changed = apply_intensity(image(), [NEUTRAL, STRONG])
    assert torch.equal(changed[0], image()[0])
    assert not torch.allclose(changed[1], image()[1])


def test_noise_depends_on_its_seed_alone() -> None:
    once = apply_intensity(image(), [STRONG, STRONG])
    again = apply_intensity(image().flip(0), [STRONG, STRONG]).flip(0)
    torch.testing.assert_close(once, again)
    other = apply_intensity(image(), [replace(STRONG, noise_seed=6)] * 2)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e4])
def test_constant_views_stay_finite(value: float) -> None:
    constant = torch.full((1, 1, 8, 8, 8), value)
    assert apply_intensity(constant, [STRONG]).isfinite().all()


def test_blur_keeps_a_constant_and_the_mean_of_a_centred_blob() -> None:
    torch.testing.assert_close(
        blur(torch.full((1, 1, 9, 9, 9), 2.5), 1.2), torch.full((1, 1, 9, 9, 9), 2.5)
    )
    blob = torch.zeros(1, 1, 17, 17, 17)
    blob[..., 8, 8, 8] = 1
    torch.testing.assert_close(blur(blob, 1.0).sum(), torch.tensor(1.0))


def test_gamma_keeps_mean_and_spread() -> None:
    changed = gamma(image(), 0.7)
    torch.testing.assert_close(changed.mean(), image().mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.std(), image().std())


def test_contrast_stays_in_range() -> None:
    changed = contrast(image(), 1.5)
    assert changed.max() <= image().max()
    assert changed.min() >= image().min()
