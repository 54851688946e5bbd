"""For the masked autoencoder: single views, of which most cells are hidden."""

from __future__ import annotations

from typing import cast

from torch import nn

from mass3d.objective.autoencoder import Autoencoder, draw_kept, hidden_error
from mass3d.training.step import StepContext, StepOutcome
from mass3d.views.single import SingleViews


def draw_step(model: nn.Module, views: SingleViews, context: StepContext) -> StepOutcome:
    """One step: hide cells that the step's generator draws, and draw them from the others."""
    whole = cast("Autoencoder", model)  # or what wraps it, whose attributes are its own
    keep = draw_kept(views.image, whole.network.stride, context.generator)
    error = hidden_error(model(views.image, keep), views.image, keep)
    spread = views.image.var(unbiased=False).clamp_min(1e-6)
    figures = {"error": error.detach(), "share": error.detach() / spread}
    return StepOutcome(error, figures, views.case_ids)
