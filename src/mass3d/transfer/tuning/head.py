"""The head: what is carried over, corrected voxel by voxel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class VoxelHead(nn.Module):
    """softmax(strength x log prior + correction); the correction is zero at the start.

    Letters: N voxels, C features, S structures.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, structures: int, hidden: int) -> None:
        super().__init__()
        self.classes = structures + 1
        inputs = features + 3 * self.classes
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.strength = nn.Parameter(torch.ones(self.classes))
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, self.classes),
        )

    def start(self, features: Tensor, generator: torch.Generator) -> None:
        """Draw the weights, and take mean and deviation from features (N, C)."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0) + 1e-3)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.zeros_(layer.bias)
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def scaled(self, features: Tensor) -> Tensor:
        """Features (N, C) less their mean, by their deviation."""
        return (features - self.mean) / self.deviation

    def forward(self, scaled: Tensor, log_prior: Tensor) -> Tensor:
        """Features of `scaled` (N, C) and log priors (N, 3 (S + 1)) -> logits (N, S + 1)."""
        correction: Tensor = self.net(torch.cat([scaled, log_prior / 3], 1))
        return log_prior[:, : self.classes] * self.strength + correction
