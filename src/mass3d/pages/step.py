"""A page about one step of pretraining: pairs, masks, and what was found of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from mass3d.io.colours import Colour
from mass3d.pages.html import write_page
from mass3d.pages.pictures import Overlay, Picture, Plane, draw
from mass3d.pretext.seen import Mask, SeenMask, SeenPair, spread
from mass3d.pretext.sizes import OCTAVES, octave_of

STEP_PAGE: Final = "step.html"
TRUE: Final[Colour] = (242, 145, 61)
FOUND: Final[Colour] = (64, 176, 232)
MASKS = 6  # of a pair, that are pictured


def write_step_page(path: Path, pairs: Sequence[SeenPair], *, steps: int) -> Path:
    """Write what the averaged model finds after `steps` in pairs of one batch."""
    every = [mask for pair in pairs for mask in pair.masks]
    return write_page(
        path,
        "step.html",
        steps=steps,
        pairs=[{"across": pair.across, "rows": rows_of(pair, MASKS)} for pair in pairs],
        octaves=list(_octaves(every)),
        dice=mean(mask.dice for mask in every) if every else float("nan"),
        count=len(every),
        drawn=TRUE,
        found=FOUND,
    )


def _octaves(masks: Sequence[SeenMask]) -> Iterator[dict[str, Any]]:
    """Masks and mean Dice of every octave of size that came up."""
    numbers = octave_of(torch.tensor([mask.voxels for mask in masks])).tolist()
    for number, begin in enumerate(OCTAVES):
        some = [mask.dice for mask, own in zip(masks, numbers, strict=True) if own == number]
        if some:
            share = len(some) / len(masks)
            yield {"begin": begin, "masks": len(some), "share": share, "dice": mean(some)}


def rows_of(pair: SeenPair, count: int) -> list[tuple[Picture, Picture]]:
    """Some masks of a pair, from small to large: what was shown, and what was found."""
    return [_pictures(pair, mask) for mask in spread(pair.masks, count)]


def _pictures(pair: SeenPair, mask: SeenMask) -> tuple[Picture, Picture]:
    reference = _slice(pair.reference, mask.reference, [Overlay(mask.reference, TRUE)])
    overlays = [Overlay(mask.found, FOUND, fill=0.45, line=0), Overlay(mask.query, TRUE, fill=0)]
    query = _slice(pair.query, mask.query, overlays)
    return (
        Picture(reference, f"{int(mask.reference.sum())} voxels", "shown"),
        Picture(query, f"{mask.voxels} voxels", f"Dice {mask.dice:.2f}"),
    )


def _slice(
    image: NDArray[np.float32], mask: Mask, overlays: Sequence[Overlay]
) -> NDArray[np.uint8]:
    """The axial slice that shows most of a mask; overlays are of (D, H, W)."""
    plane = Plane(0, int(mask.sum((1, 2)).argmax()))
    low, high = np.percentile(image, (1, 99.5))
    cut = [Overlay(plane.cut(one.region), one.colour, one.fill, one.line) for one in overlays]
    grey = (float(low), float(max(high, low + 1e-6)))
    return draw(plane.cut(image), pixel_mm=(1, 1), grey=grey, overlays=cut, width=200)
