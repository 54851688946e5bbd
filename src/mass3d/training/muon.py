"""Muon with updates in 32 bits: the library's are in 16, which most processors only imitate."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_optimizer import Muon as LibraryMuon
from pytorch_optimizer.optimizer.utils import zero_power_via_gram_newton_schulz as orthogonal
from torch import Tensor


class Muon(LibraryMuon):
    """Orthogonalised momentum: Jordan et al. 2024.

    The rounds are on the small matrix of a kernel with itself, which is what makes 32 bits cheap: a
    processor without instructions for 16 bits takes a 20th of the time of the library's rounds or
    less. What two machines disagree about in the last bit of a gradient stays in the last bits.
    """

    @staticmethod
    def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
        """Close to the nearest orthogonal matrices; a hook of the library."""
        return [
            orthogonal(
                update.flatten(1),
                num_steps=group["ns_steps"],
                weights=group["ns_coeffs"],
                reset_steps=group["ns_reset_steps"],
                dtype=torch.float32,
            )
            for update in updates
        ]
