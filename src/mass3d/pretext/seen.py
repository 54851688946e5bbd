"""What one step saw: pairs of views with their masks, and what a network answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.model.protocol import NetworkModule, segment_pair
from mass3d.model.trunk import FOLD
from mass3d.views.matched import MatchedPairs
from mass3d.views.pair import ViewPair

Mask = NDArray[np.bool_]  # (D, H, W)


class Shown(NamedTuple):
    """The views of a batch at full resolution, whatever the kind of network."""

    reference: Tensor  # (B, 1, D, H, W)
    reference_masks: Tensor  # (B, K, D, H, W) in [0, 1]
    query: Tensor  # (B, 1, D, H, W)
    query_masks: Tensor  # (B, K, D, H, W) in [0, 1]
    valid: Tensor  # (B, K) bool
    across: Tensor  # (B,) bool: of two scans


@dataclass(frozen=True)
class SeenMask:
    """One mask of a pair, and what was found in the query."""

    reference: Mask
    query: Mask
    found: Mask

    @property
    def voxels(self) -> int:
        """Size in the query."""
        return int(self.query.sum())

    @property
    def dice(self) -> float:
        """Of what was found; 1 where nothing was to be found and nothing was."""
        both = self.query.sum() + self.found.sum()
        return float(2 * (self.query & self.found).sum() / both) if both else 1.0


@dataclass(frozen=True)
class SeenPair:
    """Two views (D, H, W) of one scan, or of two, with their masks, the smallest first."""

    reference: NDArray[np.float32]
    query: NDArray[np.float32]
    across: bool
    masks: tuple[SeenMask, ...]


def shown_tokens(pair: ViewPair) -> Shown:
    """What a network of task tokens is shown."""
    within = torch.zeros(len(pair.valid), dtype=torch.bool)
    reference, query = pair.reference, pair.query
    return Shown(
        reference.image,
        reference.masks.float(),
        query.image,
        query.masks.float(),
        pair.valid,
        within,
    )


def shown_matched(pairs: MatchedPairs) -> Shown:
    """What a network that matches is shown; its masks are shares of cells."""
    reference, query = pairs.reference, pairs.query
    fine = [F.interpolate(view.masks, scale_factor=FOLD) for view in (reference, query)]
    return Shown(reference.image, fine[0], query.image, fine[1], pairs.valid, pairs.across)


@torch.no_grad()
def look(net: nn.Module, shown: Shown) -> tuple[SeenPair, ...]:
    """What a network in evaluation mode finds of every mask that it is shown."""
    network: NetworkModule = net  # type: ignore[assignment]  # the averaged model of a network
    logits = segment_pair(network, shown.reference, shown.reference_masks, shown.query)
    every = (shown.reference_masks > 0.5, shown.query_masks > 0.5, logits > 0)
    reference, query, found = (one.cpu().numpy() for one in every)
    pairs = []
    for i, valid in enumerate(shown.valid.cpu().numpy()):
        masks = [SeenMask(reference[i, k], query[i, k], found[i, k]) for k in np.flatnonzero(valid)]
        pairs.append(
            SeenPair(
                shown.reference[i, 0].float().cpu().numpy(),
                shown.query[i, 0].float().cpu().numpy(),
                bool(shown.across[i]),
                tuple(sorted(masks, key=lambda mask: mask.voxels)),
            )
        )
    return tuple(pairs)


def spread(masks: Sequence[SeenMask], count: int) -> list[SeenMask]:
    """At most `count` of masks that are sorted by size, evenly from the smallest to the largest."""
    chosen = np.unique(np.linspace(0, len(masks) - 1, min(count, len(masks))).round().astype(int))
    return [masks[number] for number in chosen]
