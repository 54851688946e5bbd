"""Two views of each scan and nothing else: for objectives that compare scans as wholes."""

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
    Intensity,
    ViewConfig,
    Warp,
    case_order,
    draw_crop_centres,
    draw_intensity,
    draw_warp,
    stream,
)
from mass3d.views.render import render_image
from mass3d.views.warp import Crop

PURPOSE = 6  # of the random stream


class TwoViews(NamedTuple):
    """Two views per sample."""

    first: Tensor  # (B, 1, D, H, W), unitless
    second: Tensor  # (B, 1, D, H, W), unitless
    owners: Tensor  # (B,) int64: number of the scan among the cases
    case_ids: tuple[str, ...]


class _Change(NamedTuple):
    """From a scan to one of its views."""

    warp: Warp
    intensity: Intensity


@dataclass(frozen=True)
class TwiceMaker:
    """Makes the views of any step, anywhere in the scans; a function of seed and step."""

    cases: Sequence[StoredCase]
    config: ViewConfig
    crop: Crop
    batch_size: int
    seed: int
    balance: Balance | None = None

    def __call__(self, step: int, device: torch.device) -> TwoViews:
        """The batch of `step` on `device`."""
        positions = [step * self.batch_size + index for index in range(self.batch_size)]
        count, balance = len(self.cases), self.balance
        numbers = [case_order(self.seed, at, count, balance) for at in positions]
        cases = [self.cases[number] for number in numbers]
        draws = [self._draw(step, index, case.shape) for index, case in enumerate(cases)]
        first, second = (
            render_image(
                cases,
                [draw[which].warp for draw in draws],
                [draw[which].intensity for draw in draws],
                crop=self.crop,
                device=device,
            )
            for which in (0, 1)
        )
        owners = torch.tensor(numbers, device=device)
        return TwoViews(first, second, owners, tuple(case.case_id for case in cases))

    def _draw(self, step: int, index: int, shape: Crop) -> tuple[_Change, _Change]:
        """How both views of one sample are moved and changed."""
        rng = stream(self.seed, step, index, purpose=PURPOSE)
        config = self.config
        everywhere = (np.zeros(3), np.array(shape) - 1.0)
        here, there = draw_crop_centres(
            rng, shape, self.crop, near=everywhere, min_overlap=config.min_overlap
        )
        return (
            _Change(
                draw_warp(rng, here, self.crop, config.weak),
                draw_intensity(rng, config.weak_intensity),
            ),
            _Change(
                draw_warp(rng, there, self.crop, config.strong),
                draw_intensity(rng, config.strong_intensity),
            ),
        )
