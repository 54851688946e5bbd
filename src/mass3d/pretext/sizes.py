"""Masks by octave of size: which ones taught, told in metrics.jsonl and on a page."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

OCTAVES: Final = tuple(2**power for power in range(4, 17))  # voxels, where each octave begins


def octave_of(voxels: Tensor) -> Tensor:
    """Number of the octave of each size in voxels; sizes beyond the ends count as at the ends."""
    powers = voxels.float().clamp_min(1).log2().floor().long()
    return (powers - 4).clamp(0, len(OCTAVES) - 1)


def masks_by_octave(voxels: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Masks per pair by size: voxels (B, K) of masks in the query, valid (B, K)."""
    counts = torch.zeros(len(OCTAVES), device=voxels.device)
    counts.index_add_(0, octave_of(voxels).flatten(), valid.float().flatten())
    means = counts / len(voxels)
    return {f"masks_{begin}": mean for begin, mean in zip(OCTAVES, means, strict=True)}
