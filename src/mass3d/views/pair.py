"""Two overlapping views of one scan with the masks both of them show: one training sample.

The newcomer's path: `PairMaker.draw` decides where to look (numpy, no voxel touched), and
`PairMaker.__call__` renders the two views, counts what is visible in both, and renders the masks
that it chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.store.reader import StoredCase
from mass3d.views.balance import Balance
from mass3d.views.draw import (
    Intensity,
    ViewConfig,
    Warp,
    anchor_box,
    case_order,
    draw_crop_centres,
    draw_intensity,
    draw_visible,
    draw_warp,
    stream,
)
from mass3d.views.render import Rendered, count_visible, render_masks, render_view
from mass3d.views.warp import Crop


class View(NamedTuple):
    """One augmented crop per sample."""

    image: Tensor  # (B, 1, D, H, W), unitless
    masks: Tensor  # (B, K, D, H, W), bool


class ViewPair(NamedTuple):
    """Two overlapping views of one scan: the reference defines the tasks."""

    reference: View
    query: View
    valid: Tensor  # (B, K) bool; false where a sample shows fewer masks than K
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class Draw:
    """Everything random about one sample but the choice of masks."""

    case: StoredCase
    warps: tuple[Warp, Warp]  # reference, query
    intensities: tuple[Intensity, Intensity]
    rng: np.random.Generator  # the sample's stream, where it stands


class PairMaker:
    """Makes the batch of any step; the same (seed, step) gives the same batch on every machine."""

    def __init__(
        self,
        cases: Sequence[StoredCase],
        config: ViewConfig,
        *,
        crop: Crop,
        batch_size: int,
        seed: int,
        balance: Balance | None = None,
    ) -> None:
        self.cases, self.config, self.balance = cases, config, balance
        self.crop, self.batch_size, self.seed = crop, batch_size, seed

    def __call__(self, step: int, device: torch.device) -> ViewPair:
        """The batch of `step` on `device`."""
        draws = [self.draw(step, index) for index in range(self.batch_size)]
        reference, query = (self._view(draws, which, device) for which in (0, 1))
        tables = [draw.case.table for draw in draws]
        rows = self._choose(draws, reference.ranks, query.ranks)
        K = self.config.num_masks
        valid = torch.tensor([[k < len(chosen) for k in range(K)] for chosen in rows])
        return ViewPair(
            View(reference.images, render_masks(reference.ranks, tables, rows, K)),
            View(query.images, render_masks(query.ranks, tables, rows, K)),
            valid.to(device),
            tuple(draw.case.case_id for draw in draws),
        )

    def draw(self, step: int, index: int) -> Draw:
        """Draw case, crops, warps and intensities of one sample."""
        position = step * self.batch_size + index
        case = self.cases[case_order(self.seed, position, len(self.cases), self.balance)]
        rng = stream(self.seed, step, index)
        config = self.config
        reference, query = draw_crop_centres(
            rng,
            case.shape,
            self.crop,
            near=anchor_box(rng, case.table),
            min_overlap=config.min_overlap,
            far=bool(rng.uniform() < config.far_share),
        )
        return Draw(
            case,
            (
                draw_warp(rng, reference, self.crop, config.weak),
                draw_warp(rng, query, self.crop, config.strong),
            ),
            (
                draw_intensity(rng, config.weak_intensity),
                draw_intensity(rng, config.strong_intensity),
            ),
            rng,
        )

    def _view(self, draws: Sequence[Draw], which: int, device: torch.device) -> Rendered:
        """The references (0) or the queries (1)."""
        return render_view(
            [draw.case for draw in draws],
            [draw.warps[which] for draw in draws],
            [draw.intensities[which] for draw in draws],
            crop=self.crop,
            device=device,
        )

    def _choose(
        self, draws: Sequence[Draw], reference: Tensor, query: Tensor
    ) -> list[NDArray[np.int64]]:
        """Rows of the masks of each sample, by what its rank maps (B, L, D, H, W) show of them."""
        tables = [draw.case.table for draw in draws]
        return [
            draw_visible(
                draw.rng,
                in_reference,
                in_query,
                num_masks=self.config.num_masks,
                min_visible_vox=self.config.min_visible_vox,
                negative_share=self.config.negative_share,
            )
            for draw, in_reference, in_query in zip(
                draws, count_visible(reference, tables), count_visible(query, tables), strict=True
            )
        ]
