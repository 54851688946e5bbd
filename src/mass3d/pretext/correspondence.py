"""For correspondence alone: find each cell of one view in the other, and nothing of masks."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.protocol import Extended
from mass3d.objective.matching import match_keys
from mass3d.training.step import StepContext, StepOutcome
from mass3d.views.matched_images import MatchedImages


class Matcher(Extended):
    """A network of which trunk, keys and temperature are trained; the rest keeps first values."""

    network: CorrespondenceNet

    def __init__(self, network: CorrespondenceNet) -> None:
        super().__init__()
        self.network = network
        for number in (network.log_penalty, network.log_gain, network.offset):
            number.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, D, H, W) -> keys (B, C, d, h, w), not yet of unit length."""
        keys: torch.Tensor = self.network(image).keys
        return keys


def correspondence_step(
    model: nn.Module, pairs: MatchedImages, context: StepContext
) -> StepOutcome:
    """One step, with one pass of the network for references and queries."""
    net = cast("Matcher", model).network  # or what wraps it, whose attributes are its own
    reference, query = model(torch.cat([pairs.reference, pairs.query])).float().chunk(2)
    place, inside = pairs.matches
    match = match_keys(net, (reference, query), place, inside, context.generator)
    figures = {"match": match.detach(), "across": pairs.across.float().mean()}
    return StepOutcome(match, figures, pairs.case_ids)
