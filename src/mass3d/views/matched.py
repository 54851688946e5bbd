"""Pairs of views whose places are known in each other: of one scan, or of two aligned ones.

What `pair` is to a network of task tokens, this is to one that matches: beside images and masks a
sample holds the true place of each cell, and for every mask a prior, a guess of where it is, wrong
as an alignment is wrong. Everything but the images is in cells of 2³ voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.store.reader import StoredCase
from mass3d.views.balance import Balance
from mass3d.views.carried import CELL, Rows, Shown, carry_masks, displace, snap
from mass3d.views.correspondence import Matches, Points, to_scan, to_view
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
from mass3d.views.mates import Pair
from mass3d.views.render import Rendered, render_view
from mass3d.views.warp import Crop
from mass3d.views.ways import Way, Ways

CANDIDATES = 3  # times as many masks are carried as are wanted
ERROR_SPREAD = 0.5  # deviation of the logarithm of how wrong the priors of a sample are


class MatchedView(NamedTuple):
    """References or queries; masks and priors as shares of cells."""

    image: Tensor  # (B, 1, D, H, W), unitless
    masks: Tensor  # (B, K, d, h, w) in [0, 1]
    prior: Tensor  # (B, K, d, h, w) in [0, 1]


class MatchedPairs(NamedTuple):
    """One pair per sample."""

    reference: MatchedView
    query: MatchedView
    valid: Tensor  # (B, K) bool; false where a sample shows fewer masks than K
    matches: Matches  # of the query's cells
    across: Tensor  # (B,) bool: of two scans
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class MatchedDraw:
    """Everything random about one sample but the choice of masks and the errors of priors."""

    cases: tuple[StoredCase, StoredCase]  # reference, query
    way: Way | None  # None: both are one scan
    warps: tuple[Warp, Warp]
    intensities: tuple[Intensity, Intensity]
    rng: np.random.Generator  # the sample's stream, where it stands

    def place(self, points: Points) -> Points:
        """Points of the query's scan -> of the reference's."""
        return points if self.way is None else self.way(points)


class _Masks(NamedTuple):
    """Masks and priors of one sample, (K, d, h, w): of reference and query."""

    masks: tuple[Tensor, Tensor]
    priors: tuple[Tensor, Tensor]
    number: int


@dataclass(frozen=True)
class MatchedMaker:
    """Makes the batch of any step; the same (seed, step) gives the same batch on every machine."""

    cases: Sequence[StoredCase]
    ways: Ways
    config: ViewConfig
    crop: Crop
    batch_size: int
    seed: int
    balance: Balance | None = None

    def __call__(self, step: int, device: torch.device) -> MatchedPairs:
        """The batch of `step` on `device`."""
        draws = [self.draw(step, index) for index in range(self.batch_size)]
        reference, query = (self._view(draws, which, device) for which in (0, 1))
        in_scan, places = self.places(draws)
        chosen = [
            self._masks(draw, reference.ranks[i : i + 1], query.ranks[i : i + 1], places[i])
            for i, draw in enumerate(draws)
        ]
        K = self.config.num_masks
        valid = torch.tensor([[k < one.number for k in range(K)] for one in chosen])
        views = [
            MatchedView(
                rendered.images,
                torch.stack([one.masks[which] for one in chosen]),
                torch.stack([one.priors[which] for one in chosen]),
            )
            for which, rendered in enumerate((reference, query))
        ]
        return MatchedPairs(
            views[0],
            views[1],
            valid.to(device),
            self.matches(draws, in_scan, places, device),
            torch.tensor([draw.way is not None for draw in draws]).to(device),
            tuple(sorted({case.case_id for draw in draws for case in draw.cases})),
        )

    def places(self, draws: Sequence[MatchedDraw]) -> tuple[list[Points], list[Points]]:
        """Of each sample, where the query's cells lie in its scan and in the reference's."""
        in_scan = [to_scan(draw.warps[1], cell_centres(self.crop), self.crop) for draw in draws]
        return in_scan, [draw.place(points) for draw, points in zip(draws, in_scan, strict=True)]

    def draw(self, step: int, index: int) -> MatchedDraw:
        """Draw scans, crops, warps and intensities of one sample."""
        config, crop = self.config, self.crop
        position = step * self.batch_size + index
        number = case_order(self.seed, position, len(self.cases), self.balance)
        rng = stream(self.seed, step, index)
        pair = self._pair(rng, number)
        way, query = self.ways.get(pair), self.cases[number]
        centre, beside = draw_crop_centres(
            rng,
            query.shape,
            crop,
            near=anchor_box(rng, query.table),
            min_overlap=config.min_overlap,
        )
        if way is not None:
            beside = way(beside[None])[0]
        weak, strong = config.weak_intensity, config.strong_intensity
        return MatchedDraw(
            (self.cases[pair[0]], query),
            way,
            (
                draw_warp(rng, beside, crop, config.weak),
                draw_warp(rng, centre, crop, config.strong),
            ),
            (draw_intensity(rng, weak), draw_intensity(rng, strong)),
            rng,
        )

    def _pair(self, rng: np.random.Generator, query: int) -> Pair:
        """Reference and query: two scans in `across_share` of samples, where a mate is known."""
        known = self._known.get(query)
        drawn, which = rng.uniform(size=2)
        if not known or drawn >= self.config.across_share:
            return query, query
        return known[int(which * len(known))]

    @cached_property
    def _known(self) -> dict[int, list[Pair]]:
        """The aligned pairs of each query, in order."""
        known: dict[int, list[Pair]] = {}
        for pair in sorted(self.ways):
            known.setdefault(pair[1], []).append(pair)
        return known

    def _view(self, draws: Sequence[MatchedDraw], which: int, device: torch.device) -> Rendered:
        """The references (0) or the queries (1)."""
        return render_view(
            [draw.cases[which] for draw in draws],
            [draw.warps[which] for draw in draws],
            [draw.intensities[which] for draw in draws],
            crop=self.crop,
            device=device,
        )

    def matches(
        self,
        draws: Sequence[MatchedDraw],
        in_scan: Sequence[Points],
        places: Sequence[Points],
        device: torch.device,
    ) -> Matches:
        """Where the query's cells lie in the reference view, and whether both scans reach there."""
        last = np.array(self.crop) // CELL - 1
        found, inside = [], []
        for draw, points, beside in zip(draws, in_scan, places, strict=True):
            cells = (to_view(draw.warps[0], beside, self.crop) - (CELL - 1) / 2) / CELL
            seen = ((cells >= 0) & (cells <= last)).all(-1)
            reference, query = draw.cases
            found.append(cells.astype(np.float32))
            inside.append(seen & _within(reference, beside) & _within(query, points))
        return Matches(
            torch.from_numpy(np.stack(found)).to(device),
            torch.from_numpy(np.stack(inside)).to(device),
        )

    def _masks(self, draw: MatchedDraw, reference: Tensor, query: Tensor, places: Points) -> _Masks:
        """Masks and priors of one sample from its rank maps (1, L, D, H, W)."""
        K, config = self.config.num_masks, self.config
        std = config.prior_error_vox * float(np.exp(draw.rng.normal(0, ERROR_SPREAD)))
        theirs, own = (
            Shown(ranks, case.table)
            for ranks, case in zip((reference, query), draw.cases, strict=True)
        )
        if draw.way is None:
            rows = self._visible(draw.rng, theirs, own, K)
            masks = theirs.shares(rows, K), own.shares(rows, K)
            priors = displace(masks[0], std, draw.rng), displace(masks[1], std, draw.rng)
            return _Masks(masks, priors, len(rows))
        carried = carry_masks(draw.cases[0], places, self.crop)
        carried = Shown(carried.ranks.to(query.device), carried.table)
        rows = self._visible(draw.rng, theirs, carried, CANDIDATES * K)
        rows, met = snap(carried, rows, own, num_masks=K, min_visible_vox=config.min_visible_vox)
        shown = theirs.shares(rows, K)
        priors = displace(shown, std, draw.rng), carried.shares(rows, K)
        return _Masks((shown, own.shares(met, K)), priors, len(rows))

    def _visible(
        self, rng: np.random.Generator, reference: Shown, query: Shown, num_masks: int
    ) -> Rows:
        """Rows of masks that both views show and the reference is not full of, by log-size."""
        in_reference = reference.voxels()
        return draw_visible(
            rng,
            np.where(in_reference < reference.max_voxels, in_reference, 0),
            query.voxels(),
            num_masks=num_masks,
            min_visible_vox=self.config.min_visible_vox,
            negative_share=0.0,
        )


def cell_centres(crop: Crop) -> Points:
    """Centres of the cells of a view in its voxels, (N, 3), in the order (D, H, W)."""
    cells = np.indices([n // CELL for n in crop]).reshape(3, -1).T
    return np.asarray(cells * CELL + (CELL - 1) / 2, np.float64)


def _within(case: StoredCase, points: Points) -> NDArray[np.bool_]:
    """Which points (N, 3) lie in a scan."""
    return np.asarray(((points > -0.5) & (points < np.array(case.shape) - 0.5)).all(-1))
