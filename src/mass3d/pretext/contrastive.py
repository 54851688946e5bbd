"""For the contrastive objective: two views of each scan, compared with those of others."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from mass3d.objective.contrastive import Contrastive, contrast
from mass3d.training.step import StepContext, StepOutcome
from mass3d.views.twice import TwoViews


def contrast_step(model: nn.Module, views: TwoViews, context: StepContext) -> StepOutcome:
    """One step, with one pass of the network for both views; the second go into the queue."""
    del context
    whole = cast("Contrastive", model)  # or what wraps it, whose attributes are its own
    first, second = model(torch.cat([views.first, views.second])).chunk(2)
    found = contrast(first, second, views.owners, whole.queue, whole.owners)
    kept = {"views": second.detach(), "owners": views.owners}
    return StepOutcome(found.loss, {"accuracy": found.accuracy}, views.case_ids, kept)
