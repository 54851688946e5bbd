"""Two overlapping views of one scan with the masks both of them show: one training sample.

The newcomer's path: `PairMaker.draw` decides where to look (numpy, no voxel touched),
`PairMaker.__call__` reads raw blocks, warps image and rank maps on the device with one grid, and
renders the chosen masks there by comparing ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.masks.table import MaskTable
from mass3d.store.reader import StoredCase
from mass3d.views.draw import (
    Intensity,
    ViewConfig,
    Warp,
    case_order,
    draw_crop_centres,
    draw_intensity,
    draw_visible,
    draw_warp,
    stream,
)
from mass3d.views.intensity import apply_intensity
from mass3d.views.warp import (
    Crop,
    sample_grid,
    source_box,
    stack_padded,
    warp_images,
    warp_ranks,
)


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
    ) -> None:
        self.cases, self.config = cases, config
        self.crop, self.batch_size, self.seed = crop, batch_size, seed

    def __call__(self, step: int, device: torch.device) -> ViewPair:
        """The batch of `step` on `device`."""
        draws = [self.draw(step, index) for index in range(self.batch_size)]
        (reference, reference_ranks), (query, query_ranks) = (
            self._view(draws, which, device) for which in (0, 1)
        )
        chosen = [
            self._choose(draw, reference_ranks[b], query_ranks[b]) for b, draw in enumerate(draws)
        ]
        tables = [draw.case.table for draw in draws]
        K = self.config.num_masks
        valid = torch.tensor([[k < len(rows) for k in range(K)] for rows in chosen])
        return ViewPair(
            View(reference, _render_batch(reference_ranks, tables, chosen, K)),
            View(query, _render_batch(query_ranks, tables, chosen, K)),
            valid.to(device),
            tuple(draw.case.case_id for draw in draws),
        )

    def draw(self, step: int, index: int) -> Draw:
        """Draw case, crops, warps and intensities of one sample."""
        position = step * self.batch_size + index
        case = self.cases[case_order(self.seed, position, len(self.cases))]
        rng = stream(self.seed, step, index)
        config = self.config
        reference, query = draw_crop_centres(
            rng,
            case.shape,
            self.crop,
            near=_anchor_box(rng, case),
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

    def _view(
        self, draws: Sequence[Draw], which: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Image (B, 1, D, H, W) and rank maps (B, L, D, H, W) of the reference (0) or query (1)."""
        warps = [draw.warps[which] for draw in draws]
        cases = [draw.case for draw in draws]
        boxes = [
            source_box(warp, self.crop, case.shape) for warp, case in zip(warps, cases, strict=True)
        ]
        fill = [case.outside for case in cases]
        pairs = list(zip(cases, boxes, strict=True))
        images = stack_padded([case.read_image(box)[None] for case, box in pairs], fill).to(device)
        ranks = _stack_ranks([case.read_layers(box) for case, box in pairs]).to(device)
        d, h, w = images.shape[2:]
        grid = sample_grid(warps, boxes, self.crop, (d, h, w), device)
        image = warp_images(images, grid, torch.tensor(fill, device=device, dtype=torch.float32))
        image = apply_intensity(image, [draw.intensities[which] for draw in draws])
        return image, warp_ranks(ranks, grid)

    def _choose(self, draw: Draw, in_reference: Tensor, in_query: Tensor) -> NDArray[np.int64]:
        config, table = self.config, draw.case.table
        return draw_visible(
            draw.rng,
            count_visible(in_reference, table.layer, table.first, table.last),
            count_visible(in_query, table.layer, table.first, table.last),
            num_masks=config.num_masks,
            min_visible_vox=config.min_visible_vox,
            negative_share=config.negative_share,
        )


def count_visible(
    ranks: Tensor, layer: NDArray[np.int16], first: NDArray[np.uint32], last: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """Voxels of every mask in a warped view: one histogram per layer, one subtraction per mask.

    ranks (L, D, H, W) int32; table columns (N,). Returns (N,).
    """
    counts = np.zeros(len(layer), np.int64)
    for number, rank_map in enumerate(ranks):
        rows = layer == number
        if not rows.any():
            continue
        histogram = torch.bincount(rank_map.flatten(), minlength=int(last[rows].max()) + 1)
        up_to = histogram.cumsum(0).cpu().numpy()
        counts[rows] = up_to[last[rows]] - up_to[first[rows].astype(np.int64) - 1]
    return counts


def _anchor_box(
    rng: np.random.Generator, case: StoredCase
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last voxel of a mask's box; masks are drawn evenly over log-size."""
    octave = np.floor(np.log2(np.maximum(case.table.voxels, 1)))
    wanted = rng.choice(np.unique(octave))
    box = case.table.box[rng.choice(np.flatnonzero(octave == wanted))].reshape(3, 2)
    return box[:, 0].astype(float), box[:, 1] - 1.0


def _stack_ranks(blocks: Sequence[NDArray[np.unsignedinteger]]) -> Tensor:
    """Rank blocks (L, d, h, w), L differing -> float32 (B, L_max, D, H, W), 0 outside."""
    most = max(len(block) for block in blocks)
    even = [
        np.concatenate([block, np.zeros((most - len(block), *block.shape[1:]), block.dtype)])
        for block in blocks
    ]
    return stack_padded([block.astype(np.float32) for block in even], [0.0] * len(even))


def _render_batch(
    ranks: Tensor, tables: Sequence[MaskTable], chosen: Sequence[NDArray[np.int64]], num_masks: int
) -> Tensor:
    """Rank maps (B, L, D, H, W) and chosen table rows -> masks (B, K, D, H, W), bool."""
    masks = ranks.new_zeros((len(chosen), num_masks, *ranks.shape[2:]), dtype=torch.bool)
    for b, (table, rows) in enumerate(zip(tables, chosen, strict=True)):
        for k, row in enumerate(rows):
            rank_map = ranks[b, int(table.layer[row])]
            torch.ge(rank_map, int(table.first[row]), out=masks[b, k])
            masks[b, k] &= rank_map <= int(table.last[row])
    return masks
