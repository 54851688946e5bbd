"""Apply drawn intensity changes to a batch of views; neutral draws leave a view untouched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.views.draw import Intensity


def apply_intensity(images: Tensor, draws: Sequence[Intensity]) -> Tensor:
    """images (B, 1, D, H, W), one draw per image -> the same shape.

    Order: gain, shift, gamma, contrast, blur, noise, as in the release. Constant views stay
    constant: no operation divides by a range or spread that may be zero.
    """
    return torch.stack([_change(image, draw) for image, draw in zip(images, draws, strict=True)])


def _change(image: Tensor, draw: Intensity) -> Tensor:
    image = image * draw.gain + draw.shift
    if draw.gamma != 1:
        image = gamma(image, draw.gamma)
    if draw.contrast != 1:
        image = contrast(image, draw.contrast)
    if draw.blur_vox > 0:
        image = blur(image.unsqueeze(0), draw.blur_vox).squeeze(0)
    if draw.noise_std > 0:
        generator = torch.Generator().manual_seed(draw.noise_seed)  # CPU: same noise everywhere
        noise = torch.randn(image.shape, generator=generator)
        image = image + draw.noise_std * noise.to(image.device)
    return image


def gamma(image: Tensor, exponent: float) -> Tensor:
    """Gamma on the image's own range, mean and standard deviation restored."""
    low, high = image.amin(), image.amax()
    span = (high - low).clamp_min(1e-6)
    curved = ((image - low) / span) ** exponent
    spread = curved.std().clamp_min(1e-6)
    return (curved - curved.mean()) / spread * image.std() + image.mean()


def contrast(image: Tensor, factor: float) -> Tensor:
    """Stretch about the mean, clamped to the old range."""
    low, high = image.amin(), image.amax()
    return ((image - image.mean()) * factor + image.mean()).clamp(low, high)


def blur(images: Tensor, sigma_vox: float) -> Tensor:
    """Separable Gaussian blur of (B, 1, D, H, W) with replicated edges; a constant stays."""
    radius = math.ceil(3 * sigma_vox)
    x = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (x / sigma_vox) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(kernel)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        images = F.conv3d(F.pad(images, padding, mode="replicate"), kernel.view(shape))
    return images
