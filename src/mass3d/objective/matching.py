"""What a network that matches learns from: true places, and masks that a rough prior announces.

Letters: B batch, K masks, N sampled cells, M matched cells, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.model import ridge
from mass3d.model.correspondence import CorrespondenceNet, balanced
from mass3d.model.trunk import fold

MASK_CELLS = 160  # of a mask and its surroundings, that a classifier is fitted to and scored on
MATCHED_CELLS = 512  # of a pair, that are told apart by their keys
FEWEST_MATCHES = 64
ROUGH_SHARE = 0.3  # of pairs whose priors say hardly more than where a mask roughly is


class Classified(NamedTuple):
    """How well the masks of queries are told from their surroundings: scalars."""

    loss: Tensor  # binary cross-entropy over valid masks
    accuracy: Tensor
    prior_accuracy: Tensor  # of the prior alone: what was there to gain


class Side(NamedTuple):
    """References or queries."""

    image: Tensor  # (B, 1, D, H, W)
    features: Tensor  # (B, C, d, h, w)
    masks: Tensor  # (B, K, d, h, w) in [0, 1]
    prior: Tensor  # (B, K, d, h, w) in [0, 1]


def rough_priors(
    priors: tuple[Tensor, Tensor], generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Priors (B, K, d, h, w) of reference and query at both scales, some samples' made rough."""
    B = len(priors[0])
    rough = (torch.rand(B, generator=generator) < ROUGH_SHARE).to(priors[0].device)
    chosen = rough.view(B, 1, 1, 1, 1)
    far = tuple(ridge.far_blurred(prior) for prior in priors)
    wide = tuple(
        torch.where(chosen, blurred, ridge.widened(prior))
        for blurred, prior in zip(far, priors, strict=True)
    )
    near = tuple(
        torch.where(chosen, blurred, prior) for blurred, prior in zip(far, priors, strict=True)
    )
    return (near[0], near[1]), (wide[0], wide[1])


def classify_masks(
    net: CorrespondenceNet,
    reference: Side,
    query: Side,
    valid: Tensor,
    generator: torch.Generator,
) -> Classified:
    """Fit a classifier of each mask on the reference in closed form, and score it on the query.

    valid (B, K). The gradient goes through the fit (Bertinetto et al. 2019, "Meta-learning with
    differentiable closed-form solvers").
    """
    near, wide = rough_priors((reference.prior, query.prior), generator)
    fitted, scored = (
        _sample(side, prior.flatten(2), around.flatten(2), generator)
        for side, prior, around in zip((reference, query), near, wide, strict=True)
    )
    weights = ridge.fit(fitted.inputs, 2 * fitted.target[..., None] - 1, net.log_penalty.exp())
    logits = net.classify(scored.inputs, weights)[..., 0]
    return _score(logits, scored, valid)


class _Sampled(NamedTuple):
    """Some cells of each mask and of its surroundings."""

    inputs: Tensor  # (B, K, N, F)
    target: Tensor  # (B, K, N)
    guess: Tensor  # (B, K, N): the prior


def _sample(side: Side, prior: Tensor, wide: Tensor, generator: torch.Generator) -> _Sampled:
    """priors (B, K, N of all cells) at two scales."""
    shares = side.masks.flatten(2)
    weights = balanced(shares, torch.log(wide + ridge.FLOOR) * ridge.PRIOR_SCALE)
    cells = draw_cells(weights, MASK_CELLS, generator)
    seen = torch.cat([side.features, fold(side.image)], 1).flatten(2)
    B, C = seen.shape[:2]
    at = seen.gather(2, cells.flatten(1)[:, None].expand(-1, C, -1)).view(B, C, *cells.shape[1:])
    guess = prior.gather(2, cells)
    return _Sampled(ridge.inputs(at, guess, wide.gather(2, cells)), shares.gather(2, cells), guess)


def _score(logits: Tensor, cells: _Sampled, valid: Tensor) -> Classified:
    weight = valid.to(logits.dtype) / valid.sum().clamp_min(1)
    loss = F.binary_cross_entropy_with_logits(logits, cells.target, reduction="none").mean(-1)
    right, guessed = (
        (((x > level) == (cells.target > 0.5)).float().mean(-1) * weight).sum()
        for x, level in ((logits.detach(), 0.0), (cells.guess, 0.5))
    )
    return Classified((loss * weight).sum(), right, guessed)


def draw_cells(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` cells of each row of weights (B, K, N), with replacement: (B, K, count).

    The generator lives on the CPU, so that a GPU draws the same.
    """
    sums = weights.cumsum(-1)
    drawn = torch.rand((*weights.shape[:2], count), generator=generator).to(weights.device)
    return torch.searchsorted(sums, drawn * sums[..., -1:]).clamp_max(weights.shape[-1] - 1)


def match_keys(
    net: CorrespondenceNet,
    keys: tuple[Tensor, Tensor],
    places: Tensor,
    inside: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Each of some query cells must find its true place among those of the others, and back.

    keys (B, C, d, h, w) of reference and query, places (B, N, 3) in cells of the reference and
    inside (B, N) of `Matches` -> a scalar, the cross-entropy of InfoNCE (Oord et al. 2018); 0 where
    a batch has too few matches.
    """
    losses = []
    for reference, query, place, known in zip(*keys, places, inside, strict=True):
        at = known.nonzero()[:, 0]
        if len(at) < FEWEST_MATCHES:
            continue
        chosen = torch.randperm(len(at), generator=generator)[:MATCHED_CELLS].to(at.device)
        cells = at[chosen]
        size = torch.tensor(reference.shape[1:], device=place.device)
        grid = ((2 * place[cells] + 1) / size - 1).flip(-1)[None, None, None]
        theirs = F.grid_sample(reference[None], grid, align_corners=False)[0, :, 0, 0]
        ours = query.flatten(1)[:, cells]
        likeness = net.temperature * F.normalize(ours, dim=0).T @ F.normalize(theirs, dim=0)
        target = torch.arange(len(cells), device=place.device)
        both = F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)
        losses.append(both / 2)
    if not losses:  # processes wait for a gradient of every weight, if only of zeros
        return (keys[0].sum() + keys[1].sum() + net.temperature) * 0
    return torch.stack(losses).mean()
