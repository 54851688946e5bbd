"""The affine map from one scan to another: all shifts at some scales, then robust refinement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.features import Level, ScanFeatures
from mass3d.alignment.filters import gradient
from mass3d.alignment.geometry import apply_affine, composed, sampled, within
from mass3d.alignment.settings import AlignmentConfig

MIN_OVERLAP = 0.4  # of the smaller scan's cells; a shift that shares less is not considered
CONVERGED_CELLS = 0.05  # an update that moves no cell further is the last one
MAX_MOVE_CELLS = 2.0  # of one update


def fit_affine(reference: ScanFeatures, query: ScanFeatures, config: AlignmentConfig) -> Tensor:
    """The affine map (3, 4) from voxels of the query to voxels of the reference."""
    common = set(reference.levels) & set(query.levels)
    strides = sorted((s for s in common if s >= config.affine_stride), reverse=True)
    coarsest = strides[0]
    tries = [
        _refined(start, reference, query, config, stride=coarsest, steps=config.affine_steps[0])
        for start in _shifts(reference.levels[coarsest], query.levels[coarsest], config)
    ]
    affine, _ = min(tries, key=lambda found: found[1])
    for stride in strides[1:]:
        steps = config.affine_steps[1]
        affine, _ = _refined(affine, reference, query, config, stride=stride, steps=steps)
    return affine


def _shifts(reference: Level, query: Level, config: AlignmentConfig) -> list[Tensor]:
    """For each scale the map (3, 4) with the best of all shifts; best first."""
    found = []
    for scale in config.scales:
        shape = [max(2, round(n / scale)) for n in reference.known.shape]
        moving = F.interpolate(reference.features[None], shape, mode="trilinear")[0]
        known = F.interpolate(reference.known[None, None], shape, mode="trilinear")[0, 0]
        cost = shift_costs(moving, (known > 0.5).float(), query.features, query.known)
        best = cost.argmin()
        index = torch.stack(torch.unravel_index(best, cost.shape))
        shift = index - torch.tensor(shape) + 1  # query cell x holds moving cell x - shift
        ratio = torch.tensor(reference.known.shape) / torch.tensor(shape)
        start = torch.tensor(query.origin) - 0.5 + query.stride * shift
        offset = torch.tensor(reference.origin) - 0.5 - ratio * start
        affine = torch.cat([torch.diag(ratio), offset[:, None]], 1)
        found.append((float(cost.flatten()[best]), affine))
    return [affine for _, affine in sorted(found, key=lambda one: one[0])]


def shift_costs(moving: Tensor, moving_known: Tensor, fixed: Tensor, fixed_known: Tensor) -> Tensor:
    """Mean squared difference of features where both are known, for every shift (Padfield 2012).

    moving (C, d, h, w), fixed (C, D, H, W), known of their spaces -> (D + d - 1, ...): entry i is
    the shift i - (d - 1). Small overlaps cost more; those below the least one cost 1e9.
    """
    pairs = zip(moving_known.shape, fixed_known.shape, strict=True)
    full = [a + b - 1 for a, b in pairs]

    def transform(x: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfftn(x, s=full, dim=(-3, -2, -1))
        return spectrum

    moving, moving_known = (moving * moving_known).flip(-3, -2, -1), moving_known.flip(-3, -2, -1)
    fixed = fixed * fixed_known
    m = transform(torch.stack([moving_known, (moving**2).sum(0)]))
    f = transform(torch.stack([fixed_known, (fixed**2).sum(0)]))
    cross = (transform(moving) * transform(fixed)).sum(0)
    products = torch.stack([m[1] * f[0] + m[0] * f[1] - 2 * cross, m[0] * f[0]])
    difference, overlap = torch.fft.irfftn(products, s=full, dim=(-3, -2, -1))
    share = overlap / max(min(float(moving_known.sum()), float(fixed_known.sum())), 1.0)
    cost = difference / overlap.clamp_min(1) / share.clamp(0.05, 1) ** 0.5
    costs: Tensor = cost.masked_fill(share < MIN_OVERLAP, 1e9)
    return costs


@dataclass(frozen=True)
class _Frame:
    """What the updates of an affine map at one stride share. N cells of the query."""

    stride: int
    points: Tensor  # (d, h, w, 3) centres of the query's cells
    centre: Tensor  # (3,) of the known ones
    size: Tensor  # () their largest distance from it along an axis
    basis: Tensor  # (N, 4): place relative to the centre in units of size, and 1
    outer: Tensor  # (N, 16): products of the basis
    total: float  # cells of the scan that has fewer known ones


def _frame(reference: Level, query: Level) -> _Frame:
    points, known = query.centres, query.known
    centre = (points * known[..., None]).sum((0, 1, 2)) / known.sum().clamp_min(1)
    size = ((points - centre).abs() * known[..., None]).amax().clamp_min(1)
    basis = torch.cat([(points - centre) / size, torch.ones_like(points[..., :1])], -1)
    basis = basis.reshape(-1, 4)
    outer = (basis[:, :, None] * basis[:, None, :]).reshape(-1, 16)
    total = min(float(known.sum()), float(reference.known.sum())) + 1
    return _Frame(query.stride, points, centre, size, basis, outer, total)


def _refined(
    affine: Tensor,
    reference: ScanFeatures,
    query: ScanFeatures,
    config: AlignmentConfig,
    *,
    stride: int,
    steps: int,
) -> tuple[Tensor, float]:
    """The best map on the way of `steps` updates, and its cost.

    The loss of a cell is bounded (Geman and McClure 1987) and counted only where both scans are
    known, so that a couch, or a view that ends elsewhere, costs little.
    """
    r, q = reference.levels[stride], query.levels[stride]
    source = torch.cat([r.features, r.known[None]])
    frame = _frame(r, q)
    slopes = gradient(q.features)
    best, least = affine, float("inf")
    for step in range(steps + 1):
        where = apply_affine(affine, frame.points)
        moved = sampled(source, where, stride, r.origin)
        valid = moved[-1] * q.known * within(where, reference.size, reference.origin)
        residual = q.features - moved[:-1]
        square = (residual**2).sum(0)
        cost = _cost(affine, square, valid, frame, config)
        if cost < least:
            best, least = affine, cost
        if step == steps:
            break
        weight = valid * (config.spread / (square + config.spread)) ** 2
        both = [(a + b) / 2 for a, b in zip(slopes, gradient(moved[:-1]), strict=True)]
        delta = _update(affine, _normal(both, residual, weight, frame), frame, config)
        affine = composed(affine, delta, frame.centre, frame.size)
        if float(delta.abs().sum(1).amax()) < CONVERGED_CELLS * stride:
            break
    return best, least


def _cost(
    affine: Tensor, square: Tensor, valid: Tensor, frame: _Frame, config: AlignmentConfig
) -> float:
    """Loss above chance per known cell, and the pull to the identity."""
    loss = square / (square + config.spread) - config.chance
    stretch = affine[:, :3] - torch.eye(3)
    pull = config.rigidity * float((stretch**2).sum())
    return float((loss * valid).sum()) / frame.total + pull


def _normal(
    slopes: list[Tensor], residual: Tensor, weight: Tensor, frame: _Frame
) -> tuple[Tensor, Tensor]:
    """Normal equations of twelve parameters, with the mean gradient of both scans (ESM).

    slopes: three of (C, d, h, w); see Benhimane and Malis, 2004 -> (12, 12), (12,).
    """
    flat = weight.reshape(-1, 1)
    tensor = torch.stack([torch.stack([(a * b).sum(0) for b in slopes]) for a in slopes])
    right = torch.stack([(a * residual).sum(0) for a in slopes])
    matrix = (tensor.reshape(9, -1) @ (frame.outer * flat)).reshape(3, 3, 4, 4)
    vector = (right.reshape(3, -1) @ (frame.basis * flat)).reshape(12)
    return matrix.permute(0, 2, 1, 3).reshape(12, 12), vector


def _update(
    affine: Tensor, normal: tuple[Tensor, Tensor], frame: _Frame, config: AlignmentConfig
) -> Tensor:
    """The Gauss-Newton update (3, 4) in voxels, pulled to the identity and no longer than a limit.

    An update is in cells per `size` voxels: the linear part changes by it x stride / size.
    """
    matrix, vector = normal
    stretch = affine[:, :3] - torch.eye(3)
    pull = torch.zeros(3, 4)
    weight = config.rigidity * config.spread * frame.total
    pull[:, :3] = weight * (frame.stride / frame.size) ** 2
    goal = torch.cat([stretch * frame.size / frame.stride, torch.zeros(3, 1)], 1)
    vector = vector - (goal * pull).reshape(12)
    ridge = 1e-3 * matrix.diagonal() + 1e-6 * matrix.diagonal().mean() + 1e-9
    matrix = matrix + torch.diag(pull.reshape(12) + ridge)
    delta: Tensor = torch.linalg.solve(matrix, vector).reshape(3, 4) * frame.stride
    longest = float(delta.abs().sum(1).amax().clamp_min(1e-9))
    return delta * min(1.0, MAX_MOVE_CELLS * frame.stride / longest)
