"""What a task's own references say about it, before it meets another scan.

Each reference as its own query: what cannot be redrawn will not be found. And each by the others:
what is to be expected of scans like these, beside what a plain affine registration gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mass3d.alignment.features import scan_features
from mass3d.transfer.oneshot.carrying import Found, find, mean_of_votes
from mass3d.transfer.oneshot.floor import carried_by_affine
from mass3d.transfer.oneshot.reference import LabelledScan
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.tuning.simulate import View
from mass3d.transfer.tuning.tune import dice_of, labels_of, window
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import Box

Row: TypeAlias = list[float | None]


@dataclass(frozen=True)
class Evidence:
    """Dice of the S structures, means over references that show them; None: nobody does."""

    itself: tuple[float | None, ...]  # each reference as its own query
    others: tuple[float | None, ...] = ()  # each by all others, if there are any
    affine: tuple[float | None, ...] = ()  # likewise by affine registrations alone


@dataclass(frozen=True)
class Example:
    """A labelled scan while a task is made of it."""

    image: Tensor  # (D, H, W)
    label: Tensor  # (D, H, W): 0, or the number of the structure from 1
    kept: LabelledScan


def own_query(
    examples: Sequence[Example], config: OneShotConfig = DEFAULT, encoder: Encoder | None = None
) -> tuple[float | None, ...]:
    """Dice of each structure where a reference is asked for itself."""
    rows: list[Row] = []
    for one in examples:
        found = find([one.kept], one.image, config, encoder, modality=one.kept.modality)
        labels = _whole(found, found.probabilities, one.image)
        rows.append(_scored(labels, one, one.kept.present))
    return _means(rows)


class Crossed(NamedTuple):
    """What R references say of each other."""

    examples: list[Example]  # their heads are kept where they improve on the others
    evidence: Evidence
    views: list[View]  # each reference, with what all others say of it; see `tune_together`


def leave_one_out(
    examples: Sequence[Example],
    config: OneShotConfig = DEFAULT,
    encoder: Encoder | None = None,
    *,
    seed: int = 0,
) -> Crossed:
    """Ask for each of at least two references with all others.

    Where heads were tuned, they are kept for the structures that they improve on the others; for
    a structure that one reference alone shows, what its own views said holds. seed: of the part of
    a large box that a view shows.
    """
    rng = np.random.default_rng(seed)
    said: list[tuple[View, View]] = []
    carried: list[Row] = []
    tuned: list[Row] = []
    affine: list[Row] = []
    for one in examples:
        rest = [other for other in examples if other is not one]
        kept = [_always(other.kept) for other in rest]
        found = find(kept, one.image, config, encoder, modality=one.kept.modality)
        shown = torch.stack([other.kept.present for other in rest]).any(0)
        votes = [mean_of_votes(these, found.voting) for these in (found.carried, found.votes)]
        for rows, mean in zip((carried, tuned), votes, strict=True):
            rows.append(_scored(_whole(found, mean, one.image), one, shown))
        affine.append(_scored(_affine(rest, one), one, shown))
        said.append(_views(rng, one, found.box, votes, shown))
    before, after = _means(carried), _means(tuned)
    chosen = [replace(one, kept=_improving(one.kept, before, after)) for one in examples]
    better = torch.tensor([(b or 0) > (a or 0) for a, b in zip(before, after, strict=True)])
    views = [_joined(*pair, better) for pair in said]
    best = tuple(
        None if a is None or b is None else max(a, b) for a, b in zip(before, after, strict=True)
    )
    evidence = Evidence(own_query(chosen, config, encoder), best, _means(affine))
    return Crossed(chosen, evidence, views)


def _views(
    rng: np.random.Generator, one: Example, box: Box, votes: Sequence[Tensor], shown: Tensor
) -> tuple[View, View]:
    """A reference with each of two votes (S, d, h, w) in a box of it, or in a part of the box.

    Of structures that the others, or the reference itself, do not show, nothing is known.
    """
    known = shown & one.kept.present
    numbers = torch.arange(1, len(known) + 1) * known
    label = torch.cat([torch.zeros(1).long(), numbers])[one.label[box].long()]
    part = window(rng, label if label.any() else torch.ones_like(label), len(known))
    image = one.image[box][part].contiguous()
    mask = known[:, None, None, None]
    one_prior, other = ((mean * mask)[(slice(None), *part)].half() for mean in votes)
    return View(image, label[part], one_prior), View(image, label[part], other)


def _joined(carried: View, tuned: View, better: Tensor) -> View:
    """The view with what is answered: the tuned votes where they are `better` (S,)."""
    prior = torch.where(better[:, None, None, None], tuned.prior, carried.prior)
    return replace(carried, prior=prior)


def _always(kept: LabelledScan) -> LabelledScan:
    """The reference with its head used for all structures."""
    if kept.head is None:
        return kept
    return replace(kept, head=replace(kept.head, used=torch.ones_like(kept.head.used)))


def _improving(
    kept: LabelledScan, before: Sequence[float | None], after: Sequence[float | None]
) -> LabelledScan:
    """The reference with its head used where Dice is better after it than before."""
    if kept.head is None:
        return kept
    verdicts = [
        own if a is None or b is None else b > a
        for own, a, b in zip(kept.head.used.tolist(), before, after, strict=True)
    ]
    return replace(kept, head=replace(kept.head, used=torch.tensor(verdicts)))


def _whole(found: Found, probabilities: Tensor, image: Tensor) -> Tensor:
    """Numbers of structures in the whole scan: (D, H, W)."""
    out = torch.zeros(image.shape, dtype=torch.long)
    out[found.box] = labels_of(probabilities)
    return out


def _affine(references: Sequence[Example], query: Example) -> Tensor:
    """Numbers of structures that affine registrations of the references agree on."""
    features = scan_features(query.image)
    votes = []
    for one in references:
        masks = torch.stack([one.label == s for s in range(1, one.kept.structures + 1)])
        votes.append(carried_by_affine(one.image, masks, features))
    shown = torch.stack([one.kept.present for one in references])
    return labels_of(mean_of_votes(torch.stack(votes), shown))


def _scored(found: Tensor, truth: Example, asked: Tensor) -> Row:
    """Dice of each structure; None for those not asked for (S,) or that the truth does not show."""
    shown = (truth.kept.present & asked).tolist()
    dice = dice_of(found, truth.label, truth.kept.structures)
    return [one if seen else None for one, seen in zip(dice, shown, strict=True)]


def _means(rows: Sequence[Row]) -> tuple[float | None, ...]:
    columns = [[one for one in column if one is not None] for column in zip(*rows, strict=True)]
    return tuple(float(np.mean(column)) if column else None for column in columns)
