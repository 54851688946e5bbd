"""For networks that match: find each cell of one view in the other, and draw masks anew."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.trunk import FOLD
from mass3d.objective.matching import Side, classify_masks, match_keys
from mass3d.pretext.sizes import masks_by_octave
from mass3d.training.step import StepContext, StepOutcome
from mass3d.views.matched import MatchedPairs

MATCH_WEIGHT = 0.3


def match_step(model: nn.Module, pairs: MatchedPairs, context: StepContext) -> StepOutcome:
    """One step, with one pass of the network for references and queries."""
    features, keys = model(torch.cat([pairs.reference.image, pairs.query.image]))
    sides = [
        Side(view.image, half.float(), view.masks, view.prior)
        for view, half in zip((pairs.reference, pairs.query), features.chunk(2), strict=True)
    ]
    net = cast("CorrespondenceNet", model)  # or what wraps it, whose attributes are its own
    masks = classify_masks(net, sides[0], sides[1], pairs.valid, context.generator)
    reference, query = keys.float().chunk(2)
    place, inside = pairs.matches
    match = match_keys(net, (reference, query), place, inside, context.generator)
    figures = {
        "bce": masks.loss.detach(),
        "match": match.detach(),
        "accuracy": masks.accuracy,
        "prior_accuracy": masks.prior_accuracy,
        "masks": pairs.valid.float().sum(1).mean(),
        "across": pairs.across.float().mean(),
        **masks_by_octave(pairs.query.masks.sum((2, 3, 4)) * FOLD**3, pairs.valid),
    }
    return StepOutcome(masks.loss + MATCH_WEIGHT * match, figures, pairs.case_ids)
