"""Where structures are: boxes and a confidence, from coarse alignments alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mass3d.alignment.alignment import similarity
from mass3d.alignment.features import ScanFeatures
from mass3d.transfer.oneshot.carrying import carried, coarse_search, mean_of_votes
from mass3d.transfer.oneshot.reference import LabelledScan
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.volume.box import Box, box_around, shifted, widened

MIN_SHARE = 0.5  # of the largest share of the references, for a voxel to belong to a box
AROUND_VOX = 8  # of a structure, where scans are compared for the confidence


@dataclass(frozen=True)
class Place:
    """Where a structure is."""

    box: Box  # of the prepared scan
    confidence: float  # in [0, 1]: how alike scan and references are around it


@torch.no_grad()
def locate(
    references: Sequence[LabelledScan], image: Tensor, config: OneShotConfig = DEFAULT
) -> list[Place | None]:
    """The place of each structure in an image (D, H, W); None where it is outside the scan."""
    search = coarse_search(references, image, config)
    pairs = list(zip(references, search.ways, strict=True))
    present = torch.stack([reference.present for reference in references])
    votes = torch.stack([carried(reference, way, search.box) for reference, way in pairs])
    shares = mean_of_votes(votes, present)
    start = [axis.start for axis in search.box]
    found: list[Place | None] = []
    for number, share in enumerate(shares):
        inner = box_around(share > MIN_SHARE * share.max().clamp_min(1e-3))
        if inner is None:
            found.append(None)
            continue
        box = shifted(inner, start)
        near = _only(search.query, widened(box, AROUND_VOX, image.shape))
        alike = [
            similarity(way, reference.features, near)
            for reference, way in pairs
            if reference.present[number]
        ]
        found.append(Place(box, min(1.0, max(0.0, sum(alike) / len(alike)))))
    return found


def _only(scan: ScanFeatures, box: Box) -> ScanFeatures:
    """The scan's features, known within a box only."""
    levels = {}
    for stride, level in scan.levels.items():
        points = level.centres
        inside = torch.ones(level.known.shape, dtype=torch.bool)
        for axis, side in enumerate(box):
            inside &= (points[..., axis] >= side.start - 0.5) & (points[..., axis] < side.stop)
        levels[stride] = replace(level, known=level.known * inside)
    return replace(scan, levels=levels)
