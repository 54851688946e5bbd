"""A reference's structures found in another scan: coarse alignment, fine alignment, correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mass3d.transfer.alignment.alignment import Alignment, align, places, refine
from mass3d.transfer.alignment.features import ScanFeatures, scan_features, with_fine
from mass3d.transfer.alignment.geometry import sampled
from mass3d.transfer.oneshot.reference import LabelledScan, box_around, widened
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.tuning.tune import TunedHead, corrected
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import Box, box_shape, hull, whole_box

PRESENT = 0.05  # least share of a cell, carried over, that makes it part of the search
STRIDE = 4  # of the coarse search


@dataclass(frozen=True)
class Found:
    """Structures in a box of a scan, as R references see them."""

    box: Box
    carried: Tensor = field(repr=False)  # (R, S, d, h, w) in [0, 1], as alignments say
    votes: Tensor = field(repr=False)  # (R, S, d, h, w) probabilities, corrected
    similarity: tuple[float, ...]  # of each reference's alignment


@torch.no_grad()
def find(
    references: Sequence[LabelledScan],
    image: Tensor,
    config: OneShotConfig = DEFAULT,
    encoder: Encoder | None = None,
) -> Found:
    """The structures of R references in an image (D, H, W) with the references' voxels.

    Memory and time grow with the box of the structures, and with a 64th of the scan.
    """
    search = coarse_search(references, image, config)
    fine = with_fine(search.query, image, search.box, config.alignment)
    priors, similarity = [], []
    for reference, way in zip(references, search.ways, strict=True):
        found = refine(way, reference.features, fine, config.alignment)
        priors.append(carried(reference, found, search.box))
        similarity.append(found.similarity)
    votes = [
        correct(reference.head, image, prior, search.box, encoder)
        for reference, prior in zip(references, priors, strict=True)
    ]
    return Found(search.box, torch.stack(priors), torch.stack(votes), tuple(similarity))


@dataclass(frozen=True)
class Search:
    """Coarse alignments of R references to a scan, and where they say that structures are."""

    query: ScanFeatures
    ways: tuple[Alignment, ...]
    box: Box


@torch.no_grad()
def coarse_search(
    references: Sequence[LabelledScan], image: Tensor, config: OneShotConfig = DEFAULT
) -> Search:
    """Look through a whole image (D, H, W) with cells of four voxels."""
    query = scan_features(image, config.alignment, finest=STRIDE)
    ways = tuple(align(one.features, query, config.alignment) for one in references)
    boxes = [_search_box(one, way, config) for one, way in zip(references, ways, strict=True)]
    return Search(query, ways, hull(boxes))


def correct(
    head: TunedHead | None, image: Tensor, prior: Tensor, box: Box, encoder: Encoder | None = None
) -> Tensor:
    """The prior (S, d, h, w) in a box of an image, corrected where the head is better."""
    if head is None:
        return prior
    better = corrected(head.head, image[box].contiguous(), prior, encoder)
    return torch.where(head.used[:, None, None, None], better, prior)


def carried(reference: LabelledScan, way: Alignment, box: Box) -> Tensor:
    """Structures of a reference on a box of the query, in [0, 1]: (S, d, h, w)."""
    points = places(way, box)
    out = torch.zeros(reference.structures, *box_shape(box))
    for number, shown in enumerate(reference.present.tolist(), 1):
        if shown:
            mask = (reference.label == number).float()[None]
            out[number - 1] = sampled(mask, points, 1, reference.origin)[0]
    return out


def _search_box(reference: LabelledScan, way: Alignment, config: OneShotConfig) -> Box:
    """Where the structures may be in the query, and some surroundings; all if they are nowhere."""
    points = places(way, way.box, STRIDE)
    mask = (reference.label > 0).float()[None]
    share = sampled(mask, points, 1, reference.origin)[0]
    cells = box_around(share > PRESENT)
    shape = way.shape
    if cells is None:
        return whole_box(shape)
    start = [axis.start for axis in way.box]
    d, h, w = (
        slice(first + STRIDE * cell.start, first + STRIDE * cell.stop)
        for first, cell in zip(start, cells, strict=True)
    )
    return widened((d, h, w), config.margin_vox, shape)
