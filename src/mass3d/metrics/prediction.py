"""Scores of predictions for whole scans, and how far they would move with other patients.

Every score takes weights (R, N), how often each of N scans counts in each of R draws, and gives
(R,); NaN where a draw cannot be scored. Truths are class numbers from 0, or measured numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.metrics.statistics import Interval

RESAMPLES: Final = 2000
BLOCK: Final = 2_000_000  # weights at once
MAX_BINS: Final = 10  # of a calibration curve,
PER_BIN: Final = 10  # each of at least so many scans

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]
MetricName = Literal["auroc", "auprc", "balanced_accuracy", "mae", "r2"]


def auroc(scores: Reals, truth: NDArray[np.bool_], weights: Reals) -> Reals:
    """Area under the curve of sensitivity and specificity; ties count one half."""
    right, wrong = _by_score(scores, truth, weights)
    below = np.cumsum(wrong, axis=1) - wrong
    return _ratio((right * (below + wrong / 2)).sum(1), right.sum(1) * wrong.sum(1))


def average_precision(scores: Reals, truth: NDArray[np.bool_], weights: Reals) -> Reals:
    """Precision averaged over the steps of recall, scans of one score being one step."""
    right, wrong = (one[:, ::-1] for one in _by_score(scores, truth, weights))
    found, called = np.cumsum(right, axis=1), np.cumsum(right + wrong, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _ratio((right * precision).sum(1), right.sum(1))


def balanced_accuracy(predicted: Whole, truth: Whole, weights: Reals) -> Reals:
    """Share of each class that is predicted right, averaged over the classes."""
    shares = [
        _ratio(
            (weights * ((truth == one) & (predicted == one))).sum(1),
            (weights * (truth == one)).sum(1),
        )
        for one in np.unique(truth)
    ]
    return np.asarray(np.mean(shares, axis=0))


def mean_absolute_error(predicted: Reals, truth: Reals, weights: Reals) -> Reals:
    """In the unit of the target."""
    return _ratio((weights * np.abs(predicted - truth)).sum(1), weights.sum(1))


def r2(predicted: Reals, truth: Reals, weights: Reals) -> Reals:
    """Share of the variance that is explained; negative for what is worse than the mean."""
    mean = _ratio((weights * truth).sum(1), weights.sum(1))
    spread = (weights * (truth - mean[:, None]) ** 2).sum(1)
    return 1 - _ratio((weights * (predicted - truth) ** 2).sum(1), spread)


def class_scores(
    probabilities: Reals, predicted: Whole, truth: Whole, weights: Reals
) -> dict[MetricName, Reals]:
    """Scores of a target with classes; probabilities (N, classes).

    Of two classes the second is to be found; of more, each against all others, averaged.
    """
    found = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas, precisions = (
        np.mean([score(probabilities[:, one], truth == one, weights) for one in found], axis=0)
        for score in (auroc, average_precision)
    )
    return {
        "auroc": areas,
        "auprc": precisions,
        "balanced_accuracy": balanced_accuracy(predicted, truth, weights),
    }


def number_scores(predicted: Reals, truth: Reals, weights: Reals) -> dict[MetricName, Reals]:
    """Scores of a target that is a number."""
    return {
        "mae": mean_absolute_error(predicted, truth, weights),
        "r2": r2(predicted, truth, weights),
    }


def patient_weights(patients: Sequence[str], *, seed: int, resamples: int = RESAMPLES) -> Reals:
    """(1 + resamples, N): every scan once, then patients drawn anew with all of their scans."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return np.vstack([np.ones(len(owner)), drawn[:, owner]]).astype(np.float64)


def scored(
    score: Callable[[Reals], dict[MetricName, Reals]], weights: Reals
) -> dict[MetricName, Reals]:
    """`score` of all draws, in blocks that fit into memory."""
    rows = max(1, BLOCK // weights.shape[1])
    parts = [score(weights[first : first + rows]) for first in range(0, len(weights), rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(draws: Reals, *, level: float = 0.95) -> Interval:
    """The first draw, which is that of every scan once, and the percentile interval of the others.

    Draws that cannot be scored are left out.
    """
    kept = draws[1:][~np.isnan(draws[1:])]
    if not len(kept):
        return Interval(float(draws[0]), math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(draws[0]), float(low), float(high))


def calibration(
    probabilities: Reals, happened: NDArray[np.bool_]
) -> list[tuple[float, float, int]]:
    """Mean probability, share of what happened, and scans, in bins of about equally many scans.

    As few as one bin, of at least `PER_BIN` scans each.
    """
    bins = int(np.clip(len(probabilities) // PER_BIN, 1, MAX_BINS))
    order = np.argsort(probabilities, kind="stable")
    return [
        (float(probabilities[part].mean()), float(happened[part].mean()), len(part))
        for part in np.array_split(order, bins)
    ]


def _by_score(scores: Reals, truth: NDArray[np.bool_], weights: Reals) -> tuple[Reals, Reals]:
    """Weights of what is and of what is not to be found, summed per score, lowest first: (R, S)."""
    order = np.argsort(scores, kind="stable")
    ranked, there = scores[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sorted_weights = weights[:, order]
    right, wrong = (
        np.add.reduceat(sorted_weights * which, starts, axis=1) for which in (there, ~there)
    )
    return right, wrong


def _ratio(above: Any, below: Any) -> Reals:
    """NaN where nothing is below."""
    found = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=found, where=below > 0))
