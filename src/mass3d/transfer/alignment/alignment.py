"""One scan aligned to another, and masks carried over.

A query voxel x lies at the reference voxel A (x + u(x)) + t: the affine map [A | t], and a
displacement u in voxels of the query. Cubic voxels of one size in both scans.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mass3d.transfer.alignment.affine import fit_affine
from mass3d.transfer.alignment.deformation import fit_displacement
from mass3d.transfer.alignment.features import ScanFeatures
from mass3d.transfer.alignment.filters import wide_mean
from mass3d.transfer.alignment.geometry import apply_affine, cell_centres, sampled, within
from mass3d.transfer.alignment.settings import DEFAULT, AlignmentConfig
from mass3d.volume.box import Box, box_at, box_shape, intersection
from mass3d.volume.geometry import Shape

SURROUNDINGS_CELLS = 2  # on each side of a cell, for the similarity


@dataclass(frozen=True)
class Alignment:
    """Where each voxel of a query lies in the reference."""

    affine: Tensor  # (3, 4), voxels of the query -> voxels of the reference
    displacement: Tensor = field(repr=False)  # (3, d, h, w), voxels of the query
    stride: int  # of the displacement's cells; the first one begins at the box
    box: Box  # of the query; outside it nothing is known
    shape: Shape  # of the query
    similarity: float = 0.0  # in [-1, 1], see `similarity`


@torch.no_grad()
def align(
    reference: ScanFeatures,
    query: ScanFeatures,
    config: AlignmentConfig = DEFAULT,
    *,
    affine_only: bool = False,
) -> Alignment:
    """Where each voxel of the query lies in the reference; `affine_only` for a plain baseline."""
    affine = fit_affine(reference, query, config)
    box = box_at(query.origin, query.size)
    moved, stride = torch.zeros(3, 1, 1, 1), max(query.size)
    if not affine_only:
        cells, level = fit_displacement(affine, reference, query, config)
        if level is not None:
            moved, stride = cells * level.stride, level.stride
            box = intersection(box, box_at(level.origin, [n * stride for n in cells.shape[1:]]))
    found = Alignment(affine, moved, stride, box, query.shape)
    alike = similarity(found, reference, query)
    return Alignment(affine, moved, stride, box, query.shape, alike)


@torch.no_grad()
def carry(alignment: Alignment, masks: Tensor) -> Tensor:
    """Masks (S, D, H, W) of the reference on the query's grid, in [0, 1]; 0 outside its box."""
    out = torch.zeros(masks.shape[0], *alignment.shape)
    points = places(alignment, alignment.box)
    out[(slice(None), *alignment.box)] = sampled(masks.float(), points, 1, (0, 0, 0))
    return out


def places(alignment: Alignment, box: Box, stride: int = 1) -> Tensor:
    """Where the cells of a box of the query lie in the reference, in voxels: (d, h, w, 3)."""
    start = [axis.start for axis in box]
    shape = [-(-n // stride) for n in box_shape(box)]
    points = cell_centres(shape, stride, start)
    first = [axis.start for axis in alignment.box]
    if (stride, start, shape) == (alignment.stride, first, [*alignment.displacement.shape[1:]]):
        moved = alignment.displacement
    else:
        moved = sampled(alignment.displacement, points, alignment.stride, first)
    return apply_affine(alignment.affine, points + moved.permute(1, 2, 3, 0))


def similarity(alignment: Alignment, reference: ScanFeatures, query: ScanFeatures) -> float:
    """Correlation of the features relative to their surroundings, over what both scans show.

    At the finest common stride above 1. Near 0 for scans that have nothing in common; what two
    scans of one region reach depends on the noise.
    """
    stride = min((set(reference.levels) & set(query.levels)) - {1})
    r, q = reference.levels[stride], query.levels[stride]
    where = places(alignment, box_at(q.origin, [n * stride for n in q.known.shape]), stride)
    moved = sampled(torch.cat([r.features, r.known[None]]), where, stride, r.origin)
    weight = q.known * moved[-1] * within(where, reference.size, reference.origin)
    a, b = (x - wide_mean(x, SURROUNDINGS_CELLS) for x in (moved[:-1], q.features))
    product = (a * b * weight).sum()
    length = ((a * a * weight).sum() * (b * b * weight).sum()).sqrt()
    return float(product / length.clamp_min(1e-6))
