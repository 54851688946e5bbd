"""The objective with labels: cross-entropy and soft Dice over the structures of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEVER = -1e4  # logit of a class that is out of the question


class LabelLosses(NamedTuple):
    """Scalars."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor  # 1 - soft Dice


def label_losses(
    logits: Tensor,
    label: Tensor,
    known: Tensor | None,
    *,
    ignored: int,
    regions: Tensor | None = None,
    eps: float = 1.0,
) -> LabelLosses:
    """Cross-entropy of all voxels, and 1 - soft Dice of the structures that the batch shows.

    logits (B, 1 + S, D, H, W); label (B, D, H, W) int64: 0, structures from 1, or `ignored`, which
    is not counted; known (B, S) bool: false for structures that may be there without a label,
    which count as background; None where all are known. Soft Dice is taken over the whole batch;
    `eps` is in voxels. regions (R, S): which structures are part of which regions, whose soft Dice
    takes the place of theirs. A batch without a counted voxel has loss 0.
    """
    log_shares = (logits if known is None else with_background(logits, known)).log_softmax(1)
    counted = (label != ignored).to(logits.dtype)
    numbers = label * (label != ignored)
    at_label = log_shares.gather(1, numbers[:, None])[:, 0]
    cross_entropy = -(at_label * counted).sum() / counted.sum().clamp_min(1)
    shares = log_shares.exp()
    claimed = torch.einsum("bcdhw,bdhw->c", shares, counted)
    shared, voxels = (
        torch.zeros_like(claimed).index_add(0, numbers.flatten(), values.flatten())
        for values in (at_label.exp() * counted, counted)
    )
    claimed, shared, voxels = claimed[1:], shared[1:], voxels[1:]
    if regions is not None:
        parts = regions.to(shares.dtype)
        claimed, voxels = parts @ claimed, parts @ voxels
        shared = _shared_regions(shares, numbers, counted, parts)
    missed = 1 - (2 * shared + eps) / (claimed + voxels + eps)
    shown = voxels > 0
    dice = (missed * shown).sum() / shown.sum().clamp_min(1)
    return LabelLosses(cross_entropy + dice, cross_entropy.detach(), dice.detach())


def _shared_regions(shares: Tensor, numbers: Tensor, counted: Tensor, parts: Tensor) -> Tensor:
    """Sum of a region's probability over the voxels that are truly in it: (R,)."""
    C = shares.shape[1]
    columns = (shares * counted[:, None]).movedim(1, -1).reshape(-1, C)
    joint = shares.new_zeros(C, C).index_add(0, numbers.flatten(), columns)  # truth, claimed
    return torch.einsum("rs,st,rt->r", parts, joint[1:, 1:], parts)


def with_background(logits: Tensor, known: Tensor) -> Tensor:
    """Logits (B, 1 + S, ...) in which structures that are not known (B, S) are background."""
    spread = known[..., None, None, None]
    open_ones = logits[:, 1:].masked_fill(spread, NEVER)
    background = torch.cat([logits[:, :1], open_ones], 1).logsumexp(1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(~spread, NEVER)], 1)


def mean_dice(logits: Tensor, label: Tensor) -> Tensor:
    """Mean Dice of the most likely classes over the structures a batch shows; for the log only.

    logits (B, 1 + S, D, H, W); label (B, D, H, W), whose numbers beyond S are not counted. One
    voxel of two is looked at along every axis.
    """
    truth, found = label[..., ::2, ::2, ::2], logits[..., ::2, ::2, ::2].argmax(1)
    numbers = torch.arange(logits.shape[1], device=label.device).view(-1, 1)
    is_true, is_found = (numbers == one.flatten() for one in (truth, found))
    is_found = is_found & (truth < len(numbers)).flatten()
    voxels, predicted, shared = (one[1:].sum(1) for one in (is_true, is_found, is_true & is_found))
    dice = 2 * shared / (predicted + voxels).clamp_min(1)
    return (dice * (voxels > 0)).sum() / (voxels > 0).sum().clamp_min(1)
