"""The pairs of `matched` without masks: for learning correspondence alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mass3d.views.correspondence import Matches
from mass3d.views.matched import MatchedMaker
from mass3d.views.render import render_image


class MatchedImages(NamedTuple):
    """One pair per sample."""

    reference: Tensor  # (B, 1, D, H, W), unitless
    query: Tensor  # (B, 1, D, H, W), unitless
    matches: Matches  # of the query's cells
    across: Tensor  # (B,) bool: of two scans
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class MatchedImageMaker:
    """Makes the batch of any step: images and places of the same pairs, moved in the same way."""

    pairs: MatchedMaker

    def __call__(self, step: int, device: torch.device) -> MatchedImages:
        """The batch of `step` on `device`."""
        pairs = self.pairs
        draws = [pairs.draw(step, index) for index in range(pairs.batch_size)]
        reference, query = (
            render_image(
                [draw.cases[which] for draw in draws],
                [draw.warps[which] for draw in draws],
                [draw.intensities[which] for draw in draws],
                crop=pairs.crop,
                device=device,
            )
            for which in (0, 1)
        )
        return MatchedImages(
            reference,
            query,
            pairs.matches(draws, *pairs.places(draws), device),
            torch.tensor([draw.way is not None for draw in draws]).to(device),
            tuple(sorted({case.case_id for draw in draws for case in draw.cases})),
        )
