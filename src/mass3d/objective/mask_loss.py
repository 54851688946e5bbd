"""The pretext objective: soft Dice plus binary cross-entropy, per mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SPACE = (-3, -2, -1)


class MaskLosses(NamedTuple):
    """Means over the masks that count: scalars."""

    total: Tensor
    dice: Tensor  # 1 - soft Dice
    bce: Tensor


def soft_dice(logits: Tensor, target: Tensor, *, eps: float = 1.0) -> Tensor:
    """Soft Dice per mask: 1 is perfect; the denominator is linear, not V-Net's squares.

    logits (B, K, D, H, W), unbounded; target, same shape, in [0, 1]. Returns (B, K) in [0, 1].
    `eps` is in voxels: an empty target met by an empty prediction scores 1, and every falsely
    claimed voxel lowers that score, so absence is taught too (the released loss is a constant
    there).
    """
    p = logits.sigmoid()
    overlap = 2 * (p * target).sum(SPACE) + eps
    return overlap / ((p + target).sum(SPACE) + eps)


def mask_losses(logits: Tensor, target: Tensor, valid: Tensor) -> MaskLosses:
    """Dice + BCE over the valid masks of a batch (MASS, equation 2).

    logits, target (B, K, D, H, W); valid (B, K) bool: false where a case had fewer masks than K.
    A batch without any valid mask has loss 0 and no gradient.
    """
    weight = valid.to(logits.dtype)
    count = weight.sum().clamp_min(1)
    dice = ((1 - soft_dice(logits, target)) * weight).sum() / count
    per_mask = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(SPACE)
    bce = (per_mask * weight).sum() / count
    return MaskLosses(dice + bce, dice.detach(), bce.detach())


def hard_dice(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean Dice of the thresholded prediction over valid, non-empty masks; for the log only."""
    predicted = logits > 0
    present = valid & target.flatten(2).any(-1)
    overlap = 2 * (predicted & (target > 0.5)).sum(SPACE)
    total = predicted.sum(SPACE) + (target > 0.5).sum(SPACE)
    return torch.where(present, overlap / total.clamp_min(1), 0).sum() / present.sum().clamp_min(1)
