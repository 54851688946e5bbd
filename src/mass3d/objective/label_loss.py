"""The objective with labels: cross-entropy and soft Dice over the structures of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NEVER = -1e4  # logit of a class that is out of the question
SPACE_AND_BATCH = (0, 2, 3, 4)


class LabelLosses(NamedTuple):
    """Scalars."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor  # 1 - soft Dice


def label_losses(
    logits: Tensor, label: Tensor, known: Tensor, *, ignored: int, eps: float = 1.0
) -> LabelLosses:
    """Cross-entropy of all voxels, and 1 - soft Dice of the structures that the batch shows.

    logits (B, 1 + S, D, H, W); label (B, D, H, W) int64: 0, structures from 1, or `ignored`, which
    is not counted; known (B, S) bool: false for structures that may be there without a label,
    which count as background. Soft Dice is taken over the whole batch; `eps` is in voxels. A batch
    without a counted voxel has loss 0.
    """
    logits = with_background(logits, known)
    counted = label != ignored
    sum_of_all = F.cross_entropy(logits, label, ignore_index=ignored, reduction="sum")
    cross_entropy = sum_of_all / counted.sum().clamp_min(1)
    shares = logits.softmax(1) * counted[:, None]
    truth = one_hot(label, logits.shape[1])
    voxels = truth.sum(SPACE_AND_BATCH)
    overlap = 2 * (shares * truth).sum(SPACE_AND_BATCH) + eps
    missed = 1 - overlap / (shares.sum(SPACE_AND_BATCH) + voxels + eps)
    shown = voxels[1:] > 0
    dice = (missed[1:] * shown).sum() / shown.sum().clamp_min(1)
    return LabelLosses(cross_entropy + dice, cross_entropy.detach(), dice.detach())


def with_background(logits: Tensor, known: Tensor) -> Tensor:
    """Logits (B, 1 + S, ...) in which structures that are not known (B, S) are background."""
    spread = known[..., None, None, None]
    open_ones = logits[:, 1:].masked_fill(spread, NEVER)
    background = torch.cat([logits[:, :1], open_ones], 1).logsumexp(1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(~spread, NEVER)], 1)


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, D, H, W) -> float32 (B, classes, D, H, W); numbers beyond the classes are in none."""
    numbers = torch.arange(classes, device=label.device).view(-1, 1, 1, 1)
    return (label[:, None] == numbers).float()


def mean_dice(logits: Tensor, label: Tensor) -> Tensor:
    """Mean Dice of the most likely classes over the structures a batch shows; for the log only."""
    classes = logits.shape[1]
    truth = one_hot(label, classes)[:, 1:]
    found = one_hot(logits.argmax(1), classes)[:, 1:] * (label < classes)[:, None]
    voxels = truth.sum(SPACE_AND_BATCH)
    overlap = 2 * (found * truth).sum(SPACE_AND_BATCH)
    dice = overlap / (found.sum(SPACE_AND_BATCH) + voxels).clamp_min(1)
    return (dice * (voxels > 0)).sum() / (voxels > 0).sum().clamp_min(1)
