"""For networks of task tokens: find the masks of the reference in another view of the scan."""

from __future__ import annotations

from torch import nn

from mass3d.objective.mask_loss import hard_dice, mask_losses
from mass3d.pretext.sizes import masks_by_octave
from mass3d.training.step import StepContext, StepOutcome
from mass3d.views.pair import ViewPair


def pair_step(model: nn.Module, pair: ViewPair, context: StepContext) -> StepOutcome:
    """One step of the pretext task of MASS, section 3."""
    del context
    target = pair.query.masks.float()
    logits = model(pair.reference.image, pair.reference.masks.float(), pair.query.image)
    losses = mask_losses(logits.float(), target, pair.valid)
    figures = {
        "dice_loss": losses.dice,
        "bce": losses.bce,
        "dice": hard_dice(logits.detach(), target, pair.valid),
        "masks": pair.valid.float().sum(1).mean(),
        **masks_by_octave(target.sum((2, 3, 4)), pair.valid),
    }
    return StepOutcome(losses.total, figures, pair.case_ids)
