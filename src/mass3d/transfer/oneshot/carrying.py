"""A reference's structures found in another scan: coarse alignment, fine alignment, correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor

from mass3d.alignment.alignment import Alignment, align, places, refine
from mass3d.alignment.features import ScanFeatures, scan_features, with_fine
from mass3d.alignment.geometry import sampled
from mass3d.metrics.overlap import dice
from mass3d.transfer.oneshot.reference import LabelledScan
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.tuning.tune import corrected
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import Box, box_around, box_shape, hull, shifted, whole_box, widened

PRESENT = 0.05  # least share of a cell, carried over, that makes it part of the search
STRIDE = 4  # of the coarse search


@dataclass(frozen=True)
class Found:
    """Structures in a box of a scan, as R references see them."""

    box: Box
    carried: Tensor = field(repr=False)  # (R, S, d, h, w) in [0, 1], as alignments say
    votes: Tensor = field(repr=False)  # (R, S, d, h, w) probabilities, corrected
    similarity: tuple[float, ...]  # of each reference's alignment
    voting: Tensor  # (R, S) bool: whose alignment is believed, and who shows the structure
    adapted: Tensor | None = field(default=None, repr=False)  # (S, d, h, w), made of the votes

    @property
    def probabilities(self) -> Tensor:
        """Mean of the votes that count, or what was made of it: (S, d, h, w)."""
        return mean_of_votes(self.votes, self.voting) if self.adapted is None else self.adapted

    def ordered(self, places: Sequence[int | None]) -> Found:
        """The structures at these places of S, in this order; nobody votes for what has none."""
        every = [self.votes.shape[1] if place is None else place for place in places]
        return replace(
            self,
            carried=_with_nothing(self.carried, 1)[:, every],
            votes=_with_nothing(self.votes, 1)[:, every],
            voting=_with_nothing(self.voting, 1)[:, every],
            adapted=None if self.adapted is None else _with_nothing(self.adapted, 0)[every],
        )

    @property
    def agreement(self) -> list[float | None]:
        """Of each structure, the mean Dice between what any two references say; None below two.

        Two that find nothing say nothing about each other.
        """
        return [
            _agreement(votes[voting] > 0.5)
            for votes, voting in zip(self.votes.unbind(1), self.voting.unbind(1), strict=True)
        ]


def _with_nothing(x: Tensor, dim: int) -> Tensor:
    """One more structure, of zeros, behind the others."""
    return torch.cat([x, torch.zeros_like(x.narrow(dim, 0, 1))], dim)


def _agreement(masks: Tensor) -> float | None:
    """Mean Dice of all pairs of masks (R, d, h, w)."""
    pairs = [dice(one, other) for one, other in combinations(masks.numpy(), 2)]
    known = [one for one in pairs if not math.isnan(one)]
    return sum(known) / len(known) if known else None


@torch.no_grad()
def find(
    references: Sequence[LabelledScan],
    image: Tensor,
    config: OneShotConfig = DEFAULT,
    encoder: Encoder | None = None,
    *,
    modality: str = "",
) -> Found:
    """The structures of R references in an image (D, H, W) with the references' voxels.

    Heads correct scans of their own modality only, and references of the scan's modality vote
    alone where they show a structure.

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
        correct(reference, image, prior, search.box, encoder, modality=modality)
        for reference, prior in zip(references, priors, strict=True)
    ]
    voting = _voting(references, similarity, modality, config)
    return Found(search.box, torch.stack(priors), torch.stack(votes), tuple(similarity), voting)


def _voting(
    references: Sequence[LabelledScan],
    similarity: Sequence[float],
    modality: str,
    config: OneShotConfig,
) -> Tensor:
    """(R, S) bool: whose vote counts for which structure."""
    present = torch.stack([reference.present for reference in references])
    believed = torch.tensor(similarity) >= config.min_similarity
    voting = present & believed[:, None]
    same = voting & torch.tensor([one.modality == modality for one in references])[:, None]
    return torch.where(same.any(0), same, voting)


def mean_of_votes(votes: Tensor, voting: Tensor) -> Tensor:
    """Mean over references: votes (R, S, ...), voting (R, S) bool; 0 where nobody votes."""
    weight = voting.float().view(*voting.shape, *[1] * (votes.dim() - 2))
    return (votes * weight).sum(0) / weight.sum(0).clamp_min(1)


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
    reference: LabelledScan,
    image: Tensor,
    prior: Tensor,
    box: Box,
    encoder: Encoder | None = None,
    *,
    modality: str = "",
) -> Tensor:
    """The prior (S, d, h, w) in a box of an image, corrected where the reference's head can."""
    head = reference.head
    if head is None or reference.modality != modality:
        return prior
    maps = encoder if head.network else None
    places = list(range(len(prior)) if head.places is None else head.places)
    own = prior[places]
    better = corrected(head.head, image[box].contiguous(), own, maps)
    answer = prior.clone()
    answer[places] = torch.where(head.used[:, None, None, None], better, own)
    return answer


def carried(reference: LabelledScan, way: Alignment, box: Box) -> Tensor:
    """Structures of a reference on a box of the query, in [0, 1]: (S, d, h, w)."""
    points = places(way, box)
    spans = _spans(points)
    out = torch.zeros(reference.structures, *box_shape(box))
    for number in range(1, reference.structures + 1):
        mask = reference.label == number
        inner = box_around(mask)
        part = None if inner is None else _reaching(spans, shifted(inner, reference.origin))
        if part is not None:
            values = sampled(mask.float()[None], points[part], 1, reference.origin)[0]
            out[(number - 1, *part)] = values
    return out


def _spans(points: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each axis of a box, where the points (d, h, w, 3) of its slices lie: two of (n, 3)."""
    others = ((1, 2), (0, 2), (0, 1))
    return [(points.amin(axes), points.amax(axes)) for axes in others]


def _reaching(spans: Sequence[tuple[Tensor, Tensor]], target: Box) -> Box | None:
    """The slices that may reach a box of the reference, or the voxel around it, if any do."""
    low = torch.tensor([axis.start - 1.0 for axis in target])
    high = torch.tensor([float(axis.stop) for axis in target])
    part = []
    for lowest, highest in spans:
        hit = ((highest >= low) & (lowest <= high)).all(1).nonzero().flatten().tolist()
        if not hit:
            return None
        part.append(slice(hit[0], hit[-1] + 1))
    d, h, w = part
    return d, h, w


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
