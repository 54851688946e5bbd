"""Means over cases, and how far they would move with other cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 5000  # another seed then moves the ends by about a hundredth of the width
DIGITS: Final = 6  # of a score in files
BLOCK: Final = 2_000_000  # numbers drawn at once, 16 MB

Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """A mean over cases and its interval; NaN where there are too few cases to tell."""

    mean: float
    low: float
    high: float

    @property
    def known(self) -> tuple[float, ...]:
        """Mean, low and high, or as many of them as are known."""
        return tuple(one for one in (self.mean, self.low, self.high) if not math.isnan(one))

    def in_words(self) -> str:
        """`0.812 [0.790, 0.831]`, or as much of it as is known."""
        if math.isnan(self.mean):
            return "–"
        if math.isnan(self.low):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def plain(self, mean: str = "mean") -> dict[str, float | list[float | None] | None]:
        """As files have it: what is not known is null. mean: what the mean is called."""
        ends = None if math.isnan(self.low) else [rounded(self.low), rounded(self.high)]
        return {mean: rounded(self.mean), "ci95": ends}


def rounded(value: float) -> float | None:
    """A score as it is written: JSON has no NaN, and sums may differ in their last bits."""
    return None if math.isnan(value) else round(value, DIGITS)


def bootstrap_mean(
    values: Reals, *, seed: int, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean of values (cases,) with its percentile bootstrap interval over cases.

    NaN values, those of cases that were not scored, are left out. Of no value everything is NaN;
    of one value only the mean is known, and both ends are NaN. The result depends on the values
    and the seed, not on the order of the values. With fewer than about ten cases the interval is
    too narrow, as percentile intervals are.
    """
    return bootstrap_mean_of_means(
        np.asarray(values, np.float64)[:, None], seed=seed, level=level, resamples=resamples
    )


def bootstrap_mean_of_means(
    table: Reals, *, seed: int, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean over structures of their means over cases, with an interval over cases.

    table (cases, structures); NaN where a structure was not scored in a case. Whole cases are
    drawn, because the structures of one case are good or bad together. A structure that none of
    the drawn cases shows is left out of that draw. Too few values: as in `bootstrap_mean`.
    """
    scored = ~np.isnan(table)
    kept = np.asarray(table, np.float64)[scored.any(axis=1)][:, scored.any(axis=0)]
    if not len(kept):
        return Interval(math.nan, math.nan, math.nan)
    kept = kept[np.lexsort(kept.T)]  # so that the order of the cases does not matter
    mean = float(_weighted_means(kept, np.ones((1, len(kept))))[0])
    if len(kept) == 1:
        return Interval(mean, math.nan, math.nan)
    means = _resampled_means(kept, seed=seed, resamples=resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def _resampled_means(table: Reals, *, seed: int, resamples: int) -> Reals:
    """(resamples,): the mean of means for cases drawn with replacement."""
    rng = np.random.default_rng(seed)
    cases, means = len(table), np.empty(resamples)
    rows = max(1, BLOCK // cases)
    for start in range(0, resamples, rows):
        drawn = rng.integers(cases, size=(min(rows, resamples - start), cases))
        means[start : start + rows] = _weighted_means(table, _times_drawn(drawn))
    return means


def _times_drawn(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R, cases): how often each case is among the drawn ones, all that a mean needs to know."""
    rows, cases = drawn.shape
    places = drawn + np.arange(rows)[:, None] * cases
    return np.bincount(places.ravel(), minlength=rows * cases).reshape(rows, cases)


def _weighted_means(table: Reals, weights: NDArray[Any]) -> Reals:
    """(R,): table (cases, structures) averaged with weights (R, cases), NaN left out."""
    scored = ~np.isnan(table)
    weights = weights.astype(np.float64)
    # einsum, not @: the sums of a BLAS may change with the number of its threads
    sums = np.einsum("rc,cs->rs", weights, np.where(scored, table, 0.0))
    counts = np.einsum("rc,cs->rs", weights, scored.astype(np.float64))
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return np.asarray(means.sum(axis=1) / (counts > 0).sum(axis=1))
