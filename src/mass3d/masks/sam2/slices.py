"""A scan as SAM2 sees it: three windows of 8 bits as the colours of slices. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.masks.sam2.settings import Axis, Sam2Profile

Floats = NDArray[np.floating[Any]]
Ranges = tuple[tuple[float, float], ...]

AXES: Final[dict[Axis, int]] = {"axial": 0, "coronal": 1, "sagittal": 2}


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan along one axis; each is coloured when it is asked for."""

    image: Floats  # (N, H, W), normalised, the chosen axis first
    body: NDArray[np.bool_]  # (N, H, W)
    mean: float
    std: float
    ranges: Ranges  # raw intensities that red, green and blue show

    def along(self, axis: Axis) -> Slices:
        """The same scan, which must be axial, cut along another axis."""
        image, body = np.moveaxis(self.image, AXES[axis], 0), np.moveaxis(self.body, AXES[axis], 0)
        return replace(self, image=image, body=body)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along the rows and columns of a slice."""
        return self.image.shape[1], self.image.shape[2]

    def colours(self, index: int) -> NDArray[np.uint8]:
        """One slice, (H, W, 3)."""
        raw = self.image[index].astype(np.float32) * np.float32(self.std) + np.float32(self.mean)
        return np.stack([_eight_bits(raw, low, high) for low, high in self.ranges], axis=-1)


def _eight_bits(raw: Floats, low: float, high: float) -> NDArray[np.uint8]:
    share = np.clip((raw - low) / max(high - low, 1e-6), 0, 1)
    bits: NDArray[np.uint8] = np.round(255 * share).astype(np.uint8)
    return bits


def raw_ranges(raw: Floats, body: NDArray[np.bool_], profile: Sam2Profile) -> Ranges:
    """The channels of a profile in raw intensities of a scan (D, H, W)."""
    if profile.unit == "raw":
        return profile.channels
    inside = raw[body]
    return tuple(
        (float(low), float(high))
        for low, high in (np.percentile(inside, channel) for channel in profile.channels)
    )


def seed_slices(
    body: NDArray[np.bool_], *, spacing_mm: float, interval_mm: float, least: int
) -> list[int]:
    """Slices to look for masks on: every `interval_mm` through the body (N, H, W), centred.

    Where that gives fewer than `least`, that many are spread evenly, or all slices of the body.
    """
    found = np.flatnonzero(body.any(axis=(1, 2)))
    if not len(found):
        return []
    first, last = int(found[0]), int(found[-1])
    step = max(1, round(interval_mm / spacing_mm))
    seeds = list(range(first + (last - first) % step // 2, last + 1, step))
    if len(seeds) < least:
        # the middles of equal parts, because the ends of a body show little
        count = min(least, last - first + 1)
        edges = np.linspace(first, last + 1, count + 1)
        seeds = [int(middle) for middle in (edges[:-1] + edges[1:]) / 2]
    return seeds
