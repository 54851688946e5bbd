"""Displacements beyond an affine map: a discrete search, then smoothed Gauss-Newton updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.features import Level, ScanFeatures
from mass3d.alignment.filters import box_mean, gradient
from mass3d.alignment.geometry import (
    apply_affine,
    sampled,
    sampled_at,
    unit_points,
    within,
)
from mass3d.alignment.settings import AlignmentConfig


@dataclass(frozen=True)
class Field:
    """A displacement in cells of a level of the query, beyond an affine map."""

    cells: Tensor  # (3, d, h, w)
    level: Level


def fit_displacement(
    affine: Tensor,
    scans: tuple[ScanFeatures, ScanFeatures],
    config: AlignmentConfig,
    *,
    begin: Field | None = None,
) -> Field | None:
    """The displacement of a query after all stages for which both scans have levels.

    scans: reference and query. Goes on from `begin` with the stages of finer stride; None: there
    was no stage.
    """
    reference, query = scans
    field = begin
    for stride, steps in config.stages:
        done = field is not None and field.level.stride <= stride
        if done or stride not in reference.levels or stride not in query.levels:
            continue
        level = query.levels[stride]
        if field is None:
            cells = _searched(affine, reference, query, stride, config)
        else:
            cells = resized(field.cells, field.level, level)
        pair = (reference.levels[stride], level)
        field = Field(_refined(cells, affine, pair, config, steps=steps), level)
    return field


def resized(field: Tensor, old: Level, new: Level) -> Tensor:
    """A displacement in cells of one level on the cells of another, in its cells."""
    return sampled(field, new.centres, old.stride, old.origin) * (old.stride / new.stride)


def _searched(
    affine: Tensor,
    reference: ScanFeatures,
    query: ScanFeatures,
    stride: int,
    config: AlignmentConfig,
) -> Tensor:
    """The best displacement (3, d, h, w) in whole cells, smoothed, after the affine map."""
    r, q = reference.levels[stride], query.levels[stride]
    where = apply_affine(affine, q.centres)
    moved = sampled(torch.cat([r.features, r.known[None]]), where, stride, r.origin)
    valid = q.known * moved[-1] * within(where, reference.size, reference.origin)
    return discrete_search(moved[:-1], q.features, valid, config)


def discrete_search(moved: Tensor, fixed: Tensor, valid: Tensor, config: AlignmentConfig) -> Tensor:
    """Coupled convex optimisation over all shifts within a radius; cells (3, d, h, w).

    moved, fixed (C, d, h, w); valid (d, h, w) weighs the cells. Best shifts and a smooth field take
    turns and draw together (Heinrich 2014; convexAdam, Siebert 2024).
    """
    r = config.radius_cells
    d, h, w = fixed.shape[1:]
    padded = F.pad(moved[None], (r,) * 6, mode="replicate")[0]
    span = range(2 * r + 1)
    cost = torch.stack(
        [
            ((padded[:, a : a + d, b : b + h, c : c + w] - fixed) ** 2).sum(0)
            for a in span
            for b in span
            for c in span
        ]
    )
    cost = box_mean(cost * valid)
    cost = cost.reshape(cost.shape[0], -1)
    axis = torch.arange(-r, r + 1.0)
    shifts = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    length = (shifts**2).sum(1, keepdim=True)
    field = _smooth(shifts[cost.argmin(0)], (d, h, w))
    for weight in config.coupling:
        total = torch.addmm(cost + weight * length, shifts, field, alpha=-2 * weight)
        field = _smooth(shifts[total.argmin(0)], (d, h, w))
    return field.reshape(3, d, h, w)


def _smooth(shifts: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Shifts (N, 3) of the cells of `shape`, smoothed: (3, N)."""
    return box_mean(shifts.T.contiguous().reshape(3, *shape), 2).reshape(3, -1)


def _refined(
    field: Tensor,
    affine: Tensor,
    levels: tuple[Level, Level],
    config: AlignmentConfig,
    *,
    steps: int,
) -> Tensor:
    """Smoothed Gauss-Newton updates of a displacement (3, d, h, w) in cells.

    levels: of the reference and of the query, of one stride. The query's gradients stand for both
    scans', so that the normal equations are inverted once.
    """
    reference, query = levels
    source = torch.cat([reference.features, reference.known[None]])
    slopes = torch.stack(gradient(query.features))  # (3, C, d, h, w)
    inverse = _normal_inverse(slopes, query.known, config.damping)
    size = reference.stride * torch.tensor(reference.known.shape, dtype=torch.float32)
    start = unit_points(apply_affine(affine, query.centres), size, reference.origin)
    turn = (affine[:, :3] * query.stride * (2 / size)[:, None]).flip(0).T.contiguous()
    for _ in range(steps):
        unit = torch.addmm(start.reshape(-1, 3), field.reshape(3, -1).T, turn).reshape(start.shape)
        moved = sampled_at(source, unit)
        residual = query.features - moved[:-1]
        square = (residual * residual).sum(0)
        weight = query.known * moved[-1] * (unit.abs().amax(-1) < 1)
        weight = weight * (config.spread / (square + config.spread))
        force = torch.stack([(slope * residual).sum(0) for slope in slopes]).mul_(weight)
        delta = _times(inverse, box_mean(force))
        delta = delta * (delta * delta).sum(0, keepdim=True).clamp_min(1.0).rsqrt()
        field = box_mean(field + delta)
    return field


def _normal_inverse(slopes: Tensor, known: Tensor, damping: float) -> Tensor:
    """Inverse of the damped, smoothed normal equations of each cell: (6, d, h, w)."""
    entries = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    tensor = box_mean(torch.stack([(slopes[i] * slopes[j]).sum(0) for i, j in entries]) * known)
    mean = tensor[:3].sum() / 3 / known.sum().clamp_min(1)
    return _inverse(tensor, damping * mean + 1e-9)


def _inverse(t: Tensor, damping: Tensor) -> Tensor:
    """Inverse of symmetric 3x3 matrices (6, ...) = xx, yy, zz, xy, xz, yz, damped."""
    a, b, c, d, e, f = t[0] + damping, t[1] + damping, t[2] + damping, t[3], t[4], t[5]
    aa, bb, cc = b * c - f * f, a * c - e * e, a * b - d * d
    dd, ee, ff = e * f - d * c, d * f - e * b, d * e - a * f
    determinant = a * aa + d * dd + e * ee
    return torch.stack([aa, bb, cc, dd, ee, ff]) / determinant.clamp_min(1e-20)


def _times(m: Tensor, v: Tensor) -> Tensor:
    """Symmetric matrices (6, ...) times vectors (3, ...)."""
    return torch.stack(
        [
            m[0] * v[0] + m[3] * v[1] + m[4] * v[2],
            m[3] * v[0] + m[1] * v[1] + m[5] * v[2],
            m[4] * v[0] + m[5] * v[1] + m[2] * v[2],
        ]
    )
