"""What a finetuned network and aligned references say of one scan, as one answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import torch
from torch import Tensor

from mass3d.transfer.oneshot.carrying import Found

FOUND: Final = 0.5  # probability above which a voxel counts as found
POWER: Final = 2  # of the Dice that an answer expects of itself, for its weight


def mixed(slabs: Iterable[tuple[int, Tensor]], found: Found) -> Iterator[tuple[int, Tensor]]:
    """What a network says, slab by slab, and what aligned references say, weighted.

    slabs: number of the first slice and (S, slices, H, W). Of each structure, either is weighted by
    the square of the Dice that its own probabilities expect: where one of them is unsure of its
    outline in this scan, the other counts more. What no reference votes for stays as it is. All
    slabs are kept till the last is there, with 16 bits a voxel.
    """
    votes, asked = found.probabilities, found.voting.any(0)
    kept = [(first, slab.half()) for first, slab in slabs]
    weights = [expected_dice(parts) ** POWER for parts in ((slab for _, slab in kept), [votes])]
    total = weights[0] + weights[1]
    share = torch.where(total > 0, weights[1] / total.clamp_min(1e-12), 0.5)
    share = torch.where(asked, share, 0)[:, None, None, None]
    depth, h, w = found.box
    for first, slab in kept:
        said = torch.zeros(slab.shape)
        low, high = max(first, depth.start), min(first + slab.shape[1], depth.stop)
        if low < high:
            part = votes[:, low - depth.start : high - depth.start]
            said[:, low - first : high - first, h, w] = part
        yield first, torch.lerp(slab.float(), said, share)


def expected_dice(parts: Iterable[Tensor]) -> Tensor:
    """Dice (S,) of what is found, were each voxel of a structure as likely as it is said to be.

    parts: probabilities (S, ...) of the voxels of a scan. With p of all voxels and the found ones
    M, it is 2 sum_M p / (|M| + sum p), the ratio of the expectations; 0 where nothing is found.
    """
    hits: list[Tensor] = []
    for part in parts:
        p = part.float().flatten(1)
        among = p > FOUND
        hits.append(torch.stack([(p * among).sum(1), among.sum(1), p.sum(1)]))
    both, number, every = torch.stack(hits).sum(0)
    found: Tensor = 2 * both / (number + every).clamp_min(1e-12)
    return found
