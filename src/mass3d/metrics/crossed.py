"""Means over draws and cases, and how far they would move with others of both."""

from __future__ import annotations

import math

import numpy as np

from mass3d.metrics.statistics import RESAMPLES, Interval, Reals


def crossed_mean(
    table: Reals, *, seed: int, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean over structures of their means over draws and cases, with a bootstrap interval.

    table (draws, cases, structures); NaN where nothing was scored. Draws and cases are drawn with
    replacement, each for itself, so that the interval tells of other training scans and other test
    scans; of few draws it is too narrow. With one draw only cases are drawn, and the other way
    round. A structure that nothing drawn shows is left out. Without a score everything is NaN, with
    one draw of one case both ends are.
    """
    scored = ~np.isnan(table)
    kept = np.asarray(table, np.float64)[scored.any((1, 2))][:, scored.any((0, 2))]
    draws, cases = kept.shape[:2]
    if not kept.size:
        return Interval(math.nan, math.nan, math.nan)
    mean = plain_mean(kept)
    if draws == cases == 1:
        return Interval(mean, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    means = _means(kept, *(_times_drawn(rng, resamples, n) for n in (draws, cases)))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def plain_mean(table: Reals) -> float:
    """The mean of `crossed_mean` alone; NaN without a score."""
    draws, cases = table.shape[:2]
    return float(_means(np.asarray(table), np.ones((1, draws)), np.ones((1, cases)))[0])


def _times_drawn(rng: np.random.Generator, resamples: int, number: int) -> Reals:
    """(R, number): how often each of a number was drawn."""
    return rng.multinomial(number, np.full(number, 1 / number), resamples).astype(np.float64)


def _means(table: Reals, draws: Reals, cases: Reals) -> Reals:
    """(R,): table (draws, cases, structures) by weights (R, draws) and (R, cases)."""
    sums, counts = (
        np.einsum("rd,rds->rs", draws, np.einsum("rc,dcs->rds", cases, values))
        for values in (np.nan_to_num(table), (~np.isnan(table)).astype(np.float64))
    )
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    seen = (counts > 0).sum(1)
    totals = np.nansum(means, 1)
    return np.asarray(np.divide(totals, seen, out=np.full_like(totals, np.nan), where=seen > 0))
