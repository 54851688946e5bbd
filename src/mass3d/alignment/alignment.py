"""One scan aligned to another, and masks carried over.

A query voxel x lies at the reference voxel A (x + u(x)) + t: the affine map [A | t], and a
displacement u. Cubic voxels of one size in both scans.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mass3d.alignment.affine import fit_affine
from mass3d.alignment.deformation import Field, fit_displacement
from mass3d.alignment.features import ScanFeatures
from mass3d.alignment.filters import wide_mean
from mass3d.alignment.geometry import apply_affine, cell_centres, sampled, within
from mass3d.alignment.settings import DEFAULT, AlignmentConfig
from mass3d.volume.box import Box, box_at, box_shape, intersection
from mass3d.volume.geometry import Shape

SURROUNDINGS_CELLS = 2  # on each side of a cell, for the similarity


@dataclass(frozen=True)
class Alignment:
    """Where each voxel of a query lies in the reference."""

    affine: Tensor  # (3, 4), voxels of the query -> voxels of the reference
    field: Field | None = dataclasses.field(repr=False)  # None: the affine map is all
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
    if affine_only:
        return _found(affine, None, reference, query)
    return _found(affine, fit_displacement(affine, (reference, query), config), reference, query)


@torch.no_grad()
def refine(
    coarse: Alignment,
    reference: ScanFeatures,
    query: ScanFeatures,
    config: AlignmentConfig = DEFAULT,
) -> Alignment:
    """A coarse alignment taken further with finer levels, which may show a part of the scans.

    Where the finest level of the query ends, the alignment ends.
    """
    scans = (reference, query)
    field = fit_displacement(coarse.affine, scans, config, begin=coarse.field)
    return _found(coarse.affine, field, reference, query)


def _found(
    affine: Tensor, field: Field | None, reference: ScanFeatures, query: ScanFeatures
) -> Alignment:
    """The alignment with what else is known of it."""
    box = box_at(query.origin, query.size)
    if field is not None:
        covered = [n * field.level.stride for n in field.level.known.shape]
        box = intersection(box, box_at(field.level.origin, covered))
    found = Alignment(affine, field, box, query.shape)
    return replace(found, similarity=similarity(found, reference, query))


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
    points = cell_centres([-(-n // stride) for n in box_shape(box)], stride, start)
    if alignment.field is not None:
        level, cells = alignment.field.level, alignment.field.cells
        same = (stride, tuple(start)) == (level.stride, level.origin)
        if not same or cells.shape[1:] != points.shape[:3]:
            cells = sampled(cells, points, level.stride, level.origin)
        points = points + level.stride * cells.permute(1, 2, 3, 0)
    return apply_affine(alignment.affine, points)


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
