"""The idea of the method in one pair: a view with masks, another view, and where the masks are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mass3d.io.colours import PALETTE
from mass3d.model.protocol import segment_pair
from mass3d.pages.pictures import Overlay, Picture, Plane, Rgb, draw
from mass3d.store.reader import Store
from mass3d.transfer.trained import TrainedModel, load_trained
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker

PAIRS = 9  # looked at, of which a typical one is shown
SHOWN = 5  # masks of the pair
MIN_SHARE = 0.002  # share of a view that a mask fills, for an eye to find it
MAX_SHARE = 0.15

Masks = NDArray[np.bool_]  # (K, D, H, W)


@dataclass(frozen=True)
class Pair:
    """Two views of one scan, some masks in both, and what the network makes of the second."""

    case_id: str
    reference: NDArray[np.float32]  # (D, H, W)
    query: NDArray[np.float32]
    shown: Masks  # in the reference
    true: Masks  # in the query
    found: Masks

    @property
    def dice(self) -> float:
        """Mean over the masks of what was found."""
        both = (self.true & self.found).sum((1, 2, 3))
        sizes = self.true.sum((1, 2, 3)) + self.found.sum((1, 2, 3))
        return float((2 * both / sizes).mean())


def idea_pictures(store: Store, run: Path, *, seed: int) -> tuple[Picture, ...]:
    """A typical pair in four pictures; none where no pair has masks that an eye would find."""
    trained = load_trained(run)
    cases = [store.case(case_id) for case_id in store.case_ids]
    # an own stream of draws, so that training has not seen the pair
    make = PairMaker(cases, ViewConfig(), crop=trained.crop, batch_size=1, seed=seed + 1)
    pairs = sorted(_pairs(make, trained), key=lambda pair: pair.dice)
    if not pairs:
        return ()
    pair = pairs[len(pairs) // 2]
    first, second = _plane(pair.shown), _plane(pair.true)
    return (
        Picture(
            _slice(pair.reference, first, pair.shown), "Shown: masks in one view", pair.case_id
        ),
        Picture(_slice(pair.query, second), "Asked: another view", "moved, deformed, other greys"),
        Picture(_slice(pair.query, second, pair.true), "Right: where the masks are"),
        Picture(
            _slice(pair.query, second, pair.found),
            "The network's answer",
            f"after pretraining, Dice {pair.dice:.2f}",
        ),
    )


@torch.no_grad()
def _pairs(make: PairMaker, trained: TrainedModel) -> Iterator[Pair]:
    for number in range(PAIRS):
        pair = make(number, trained.device)
        shown, true = (view.masks[0].cpu().numpy() for view in (pair.reference, pair.query))
        rows = _visible(shown, true)
        if not rows:
            continue
        masks = pair.reference.masks[:, rows].float()
        logits = segment_pair(trained.net, pair.reference.image, masks, pair.query.image)
        yield Pair(
            pair.case_ids[0],
            pair.reference.image[0, 0].float().cpu().numpy(),
            pair.query.image[0, 0].float().cpu().numpy(),
            shown[rows],
            true[rows],
            (logits[0] > 0).cpu().numpy(),
        )


def _visible(shown: Masks, true: Masks) -> list[int]:
    """At most `SHOWN` masks that both views show, the largest first, none on another."""
    share = np.minimum(shown.mean((1, 2, 3)), true.mean((1, 2, 3)))
    rows: list[int] = []
    for row in np.argsort(-share).tolist():
        apart = not any(_overlap(shown[row], shown[other]) for other in rows)
        if MIN_SHARE <= share[row] <= MAX_SHARE and apart and len(rows) < SHOWN:
            rows.append(row)
    return rows


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    return bool((one & other).sum() > 0.1 * min(one.sum(), other.sum()))


def _plane(masks: Masks) -> Plane:
    """The axial slice that shows most of the masks, each counting the same."""
    areas = masks.sum((2, 3)).astype(float)
    return Plane(0, int(np.sqrt(areas / areas.max(1, keepdims=True)).sum(0).argmax()))


def _slice(
    image: NDArray[np.float32], plane: Plane, masks: Iterable[NDArray[np.bool_]] = ()
) -> Rgb:
    """A slice of (D, H, W) with masks over it, a colour for each."""
    low, high = (float(edge) for edge in np.percentile(image, (1, 99.5)))
    overlays = [
        Overlay(plane.cut(mask), PALETTE[number % len(PALETTE)])
        for number, mask in enumerate(masks)
    ]
    grey = (low, max(high, low + 1e-6))
    return draw(plane.cut(image), pixel_mm=(1, 1), grey=grey, overlays=overlays)
