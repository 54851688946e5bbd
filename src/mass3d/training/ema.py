"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mass3d.training.sharding import local


class Ema:
    """A copy of a model that follows it slowly.

    The decay rises with the step, (1 + step) / (10 + step) at most `decay`, so that the random
    start is forgotten early. Buffers are copied. Made before the model is sharded, and sharded in
    the same way, so that every process keeps the average of its share.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move a little towards `model`."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = list(map(local, self.model.parameters()))
        torch._foreach_lerp_(averages, [local(p.detach()) for p in model.parameters()], weight)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
