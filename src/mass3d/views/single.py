"""One view of one scan: for objectives that need no pair, and for measuring a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mass3d.store.reader import StoredCase
from mass3d.views.balance import Balance
from mass3d.views.draw import (
    IntensityConfig,
    WarpConfig,
    case_order,
    draw_crop_centres,
    draw_intensity,
    draw_warp,
    stream,
)
from mass3d.views.render import render_image
from mass3d.views.warp import Crop


class SingleViews(NamedTuple):
    """One view per sample."""

    image: Tensor  # (B, 1, D, H, W), unitless
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class SingleMaker:
    """Makes the views of any step, anywhere in the scans; a function of seed and step."""

    cases: Sequence[StoredCase]
    crop: Crop
    batch_size: int
    seed: int
    warp: WarpConfig
    intensity: IntensityConfig
    balance: Balance | None = None

    def __call__(self, step: int, device: torch.device) -> SingleViews:
        """The batch of `step` on `device`."""
        cases, warps, intensities = [], [], []
        for index in range(self.batch_size):
            position = step * self.batch_size + index
            case = self.cases[case_order(self.seed, position, len(self.cases), self.balance)]
            rng = stream(self.seed, step, index, purpose=2)
            everywhere = (np.zeros(3), np.array(case.shape) - 1.0)
            centre, _ = draw_crop_centres(
                rng, case.shape, self.crop, near=everywhere, min_overlap=1.0
            )
            cases.append(case)
            warps.append(draw_warp(rng, centre, self.crop, self.warp))
            intensities.append(draw_intensity(rng, self.intensity))
        images = render_image(cases, warps, intensities, crop=self.crop, device=device)
        return SingleViews(images, tuple(case.case_id for case in cases))
