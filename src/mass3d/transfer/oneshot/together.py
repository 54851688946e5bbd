"""A head that several references tune together, on what each of them is told by the others.

What is wrong with real alignments teaches more than what is made up from one scan. It sees the mean
of all votes, and answers as the mean of that and of what it makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mass3d.transfer.oneshot.carrying import Found
from mass3d.transfer.tuning.head import VoxelHead
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.simulate import View
from mass3d.transfer.tuning.tune import TunedHead, corrected, overlaps, tune_on
from mass3d.transfer.tuning.voxels import Encoder


def tune_together(
    views: Sequence[View], config: TuningConfig, encoder: Encoder | None = None
) -> TunedHead | None:
    """A head of at least two references, if it improves any structure.

    views: each reference, with what all others say of it. Each half of them judges a head that was
    tuned on the other half.
    """
    shown = [view for view in views if view.label.any()]
    halves = shown[::2], shown[1::2]
    if not halves[1]:
        return None
    rows: list[Tensor] = []
    for learned, asked in (halves, halves[::-1]):
        head = tune_on(learned, config, encoder)
        rows += [_judged(head, view, encoder) for view in asked]
    before, after = torch.stack(rows).nanmean(0).unbind()
    used = after > before  # not where a structure is known of no reference
    if not used.any():
        return None
    whole = tune_on(shown, config, encoder)
    kept = [tuple(dice.nan_to_num().tolist()) for dice in (before, after)]
    return TunedHead(whole, used, kept[0], kept[1], encoder is not None)


@torch.no_grad()
def _judged(head: VoxelHead, view: View, encoder: Encoder | None) -> Tensor:
    """Dice (2, S) before and after; NaN for what the view does not show."""
    before = view.prior.float()
    after = _mixed(head, view.image, before, encoder)
    rows = [overlaps(found, view.label) for found in (before, after)]
    present = torch.stack([(view.label == n).any() for n in range(1, len(before) + 1)])
    return torch.where(present, torch.tensor(rows), torch.nan)


def _mixed(head: VoxelHead, image: Tensor, prior: Tensor, encoder: Encoder | None) -> Tensor:
    """The mean of a prior (S, d, h, w) and of what a head makes of it."""
    return (prior + corrected(head, image, prior, encoder)) / 2


@torch.no_grad()
def improved(
    found: Found, together: TunedHead, image: Tensor, encoder: Encoder | None = None
) -> Found:
    """What was found in an image (D, H, W), corrected where the head of all references can."""
    votes = found.probabilities
    used = together.used & found.voting.any(0)
    better = _mixed(
        together.head, image[found.box].contiguous(), votes, encoder if together.network else None
    )
    return replace(found, adapted=torch.where(used[:, None, None, None], better, votes))
