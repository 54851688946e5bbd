"""Sliding windows: cover a volume once, blend smoothly, bound the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mass3d.volume.box import Box, box_at

# Shown at once, for torch convolves a single small map in 32 bits several times slower than two.
VOXELS_AT_ONCE = 600_000


def window_starts(size: int, window: int, *, overlap: float) -> list[int]:
    """Evenly spread starts of windows that cover [0, size) with at least `overlap` shared.

    One window when `size <= window`; the last window ends flush with the volume.
    """
    if size <= window:
        return [0]
    stride = max(1, int(window * (1 - overlap)))
    count = -(-(size - window) // stride) + 1
    return [int(start) for start in np.linspace(0, size - window, count).round()]


def windows(
    shape: tuple[int, int, int], window: tuple[int, int, int], *, overlap: float
) -> Iterator[Box]:
    """All window boxes of a volume (already at least as large as the window), each once."""
    starts = [window_starts(n, w, overlap=overlap) for n, w in zip(shape, window, strict=True)]
    for d in starts[0]:
        for h in starts[1]:
            for w in starts[2]:
                yield box_at((d, h, w), window)


def together(boxes: list[Box], window: tuple[int, int, int]) -> Iterator[list[Box]]:
    """The windows in their order, in even groups that are shown at once."""
    most = max(1, VOXELS_AT_ONCE // int(np.prod(window)))
    ends = np.linspace(0, len(boxes), -(-len(boxes) // most) + 1).astype(int)
    return (boxes[first:last] for first, last in pairwise(ends))


def blend_weight(window: tuple[int, int, int]) -> Tensor:
    """Gaussian weight of a window, sigma an eighth of the edge, at least 1e-3: (D, H, W)."""
    profiles = [
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).clamp_min(1e-3)
        for n in window
    ]
    d, h, w = profiles
    return (d[:, None, None] * h[None, :, None] * w[None, None, :]).clamp_min(1e-3)


def pad_to_window(
    image: Tensor, window: tuple[int, int, int], *, outside: float
) -> tuple[Tensor, tuple[int, int, int]]:
    """Centre an image (D, H, W) in a frame at least as large as the window.

    Returns the padded image and how many voxels were put before it along each axis.
    """
    padding = [max(0, w - n) for n, w in zip(image.shape, window, strict=True)]
    d, h, w = (p // 2 for p in padding)
    pads = [w, padding[2] - w, h, padding[1] - h, d, padding[0] - d]  # torch: last axis first
    return torch.nn.functional.pad(image, pads, value=outside), (d, h, w)


def slide(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    *,
    window: tuple[int, int, int],
    channels: int,
    overlap: float,
    outside: float,
) -> Tensor:
    """Blend `predict` over an image.

    image (D, H, W) on any device; `predict` maps some windows (B, 1, *window) to probabilities
    (B, channels, *window). Returns (channels, D, H, W) float32 on the CPU, where large volumes fit.
    An image smaller than the window is centred in it and padded with `outside`.
    """
    found = torch.empty((channels, *image.shape))
    parts = slide_down(
        image, predict, window=window, channels=channels, overlap=overlap, outside=outside
    )
    for first, part in parts:
        found[:, first : first + part.shape[1]] = part
    return found


def slide_down(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    *,
    window: tuple[int, int, int],
    channels: int,
    overlap: float,
    outside: float,
) -> Iterator[tuple[int, Tensor]]:
    """As `slide`, in slabs from the first slice to the last, in the memory of one window's depth.

    Yields the number of the first slice and (channels, slices, H, W), as soon as no further window
    reaches them.
    """
    return slide_down_all(
        [image], predict, window=window, channels=channels, overlap=overlap, outside=[outside]
    )


@torch.no_grad()
def slide_down_all(
    images: Sequence[Tensor],
    predict: Callable[[Tensor], Tensor],
    *,
    window: tuple[int, int, int],
    channels: int,
    overlap: float,
    outside: Sequence[float],
) -> Iterator[tuple[int, Tensor]]:
    """As `slide_down`, over N images (D, H, W) of one grid, each with its own value outside.

    `predict` maps windows (B, N, *window) to (B, channels, *window).
    """
    image = images[0]
    pairs = zip(images, outside, strict=True)
    padded = [pad_to_window(one, window, outside=value) for one, value in pairs]
    frames, before = [frame for frame, _ in padded], padded[0][1]
    depth, h, w = frames[0].shape
    around = tuple(slice(b, b + n) for b, n in zip(before[1:], image.shape[1:], strict=True))
    weight = blend_weight(window)
    total, norm = torch.zeros((channels, window[0], h, w)), torch.zeros((window[0], h, w))
    starts = window_starts(depth, window[0], overlap=overlap)
    for start, following in zip(starts, [*starts[1:], depth], strict=True):
        slabs = [frame[start : start + window[0]] for frame in frames]
        boxes = list(windows((window[0], h, w), window, overlap=overlap))
        for some in together(boxes, window):
            shown = torch.stack([torch.stack([slab[box] for slab in slabs]) for box in some])
            answers = predict(shown).float().cpu()
            for box, answer in zip(some, answers, strict=True):
                total[(slice(None), *box)] += answer * weight
                norm[box] += weight
        done = following - start
        first, last = max(start, before[0]), min(following, before[0] + len(image))
        rows = slice(first - start, last - start)
        if first < last:
            yield (
                first - before[0],
                (total[:, rows] / norm[rows])[(slice(None), slice(None), *around)],
            )
        total = torch.cat([total[:, done:], torch.zeros(channels, done, h, w)], 1)
        norm = torch.cat([norm[done:], torch.zeros(done, h, w)])
