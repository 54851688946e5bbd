"""What a finetuned network and aligned references say of one scan, as one answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import torch
from torch import Tensor

from mass3d.transfer.expectation import Expectation
from mass3d.transfer.oneshot.carrying import Found

POWER: Final = 2  # of the Dice that an answer expects of itself, for its weight


def mixed(slabs: Iterable[tuple[int, Tensor]], found: Found) -> Iterator[tuple[int, Tensor]]:
    """What a network says, slab by slab, and what aligned references say, weighted.

    slabs: number of the first slice and (S, slices, H, W). Of each structure, either is weighted by
    the square of the Dice that its own probabilities expect: where one of them is unsure of its
    outline in this scan, the other counts more. What no reference votes for stays as it is. All
    slabs are kept till the last is there, with 16 bits a voxel.
    """
    votes, asked = found.probabilities, found.voting.any(0)
    ours, theirs = Expectation(), Expectation()
    kept = [(first, slab.half()) for first, slab in ours.counted(slabs)]
    theirs.add(votes)
    weight, other = ours.dice**POWER, theirs.dice**POWER
    share = torch.where(weight + other > 0, other / (weight + other).clamp_min(1e-12), 0.5)
    share = torch.where(asked, share, 0)[:, None, None, None]
    depth, h, w = found.box
    for first, slab in kept:
        said = torch.zeros(slab.shape)
        low, high = max(first, depth.start), min(first + slab.shape[1], depth.stop)
        if low < high:
            part = votes[:, low - depth.start : high - depth.start]
            said[:, low - first : high - first, h, w] = part
        yield first, torch.lerp(slab.float(), said, share)
