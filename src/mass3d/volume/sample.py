"""Evenly spread voxels of a scan, which rules and statistics go by."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAMPLED: Final = 2**18  # voxels at most


def sample_steps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Steps along (D, H, W) at which at most `SAMPLED` voxels lie."""
    steps = np.ones(3, int)
    while np.prod(np.ceil(np.array(shape) / steps)) > SAMPLED:
        steps[np.argmax(np.array(shape) / steps)] *= 2
    d, h, w = (int(step) for step in steps)
    return d, h, w


def sample(image: NDArray[Any]) -> NDArray[Any]:
    """Every so many voxels of (D, H, W), as a view."""
    d, h, w = sample_steps(image.shape)
    return image[::d, ::h, ::w]
