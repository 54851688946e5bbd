"""Two methods on the same cases: how far apart they are, and whether that could be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.metrics.statistics import Interval, bootstrap_mean

FLIPS: Final = 20_000  # of signs, where there are too many to try all
ALL_FLIPS: Final = 14  # differences of which all 2^n flips are tried
EXACT: Final = 50  # differences without ties of which ranks are counted exactly
TIE: Final = 1e-12  # differences that are smaller are none
ROUNDING: Final = 1e-12  # of the sum of all sizes: sums of flips that are nearer are the same

Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Paired:
    """One score of one structure in the cases in which both methods were scored.

    p-values are two-sided; NaN where there is no case. Those of `holm` hold for all structures of
    a comparison together.
    """

    n: int
    ours: float  # mean
    theirs: float
    difference: Interval  # ours less theirs, mean over cases
    wilcoxon: float  # signed ranks
    permutation: float  # of signs
    wilcoxon_holm: float = math.nan
    permutation_holm: float = math.nan

    def plain(self) -> dict[str, Any]:
        """As files have it."""
        return {
            "n": self.n,
            "ours": _rounded(self.ours),
            "against": _rounded(self.theirs),
            "difference": self.difference.plain(),
            **{name: _rounded(getattr(self, name)) for name in TESTS},
        }


TESTS: Final = ("wilcoxon", "permutation", "wilcoxon_holm", "permutation_holm")


def compare(ours: Reals, theirs: Reals, *, seed: int) -> Paired:
    """Scores (cases,) of two methods; a case that either was not scored in is left out."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    if not both.any():
        nothing = Interval(math.nan, math.nan, math.nan)
        return Paired(0, math.nan, math.nan, nothing, math.nan, math.nan)
    differences = np.asarray(ours - theirs, np.float64)[both]
    return Paired(
        int(both.sum()),
        float(ours[both].mean()),
        float(theirs[both].mean()),
        bootstrap_mean(differences, seed=seed),
        signed_ranks(differences),
        sign_flips(differences, seed=seed),
    )


@dataclass(frozen=True)
class Comparison:
    """One score of two methods: for each structure, and over all."""

    structures: dict[str, Paired]
    overall: Paired  # of the means of each case over the structures that both were scored in

    def plain(self) -> dict[str, Any]:
        """As files have it."""
        structures = {name: one.plain() for name, one in self.structures.items()}
        return {"overall": self.overall.plain(), "structures": structures}


def compare_tables(
    ours: Reals, theirs: Reals, structures: Sequence[str], *, seed: int
) -> Comparison:
    """Tables (cases, structures) of the same cases; p-values are corrected over structures."""
    found = {
        name: compare(ours[:, number], theirs[:, number], seed=seed)
        for number, name in enumerate(structures)
    }
    both = np.isfinite(ours) & np.isfinite(theirs)
    scored = both.any(axis=1)
    means = [
        np.where(both, table, 0)[scored].sum(axis=1) / both[scored].sum(axis=1)
        for table in (ours, theirs)
    ]
    return Comparison(corrected(found), compare(*means, seed=seed))


def corrected(found: Mapping[str, Paired]) -> dict[str, Paired]:
    """With p-values that hold for all of them together, after Holm 1979."""
    wilcoxon = holm([one.wilcoxon for one in found.values()])
    permutation = holm([one.permutation for one in found.values()])
    return {
        name: replace(one, wilcoxon_holm=w, permutation_holm=p)
        for (name, one), w, p in zip(found.items(), wilcoxon, permutation, strict=True)
    }


def signed_ranks(differences: Reals) -> float:
    """Two-sided p of Wilcoxon's signed ranks; cases without a difference are left out.

    1 where there is no difference at all. Exact up to 50 differences without ties, normal beyond.
    """
    from scipy import stats  # noqa: PLC0415  two seconds, that only a comparison needs

    changed = differences[np.abs(differences) > TIE]
    if not len(changed):
        return 1.0
    sizes = np.abs(changed)
    exact = len(changed) <= EXACT and len(np.unique(sizes)) == len(sizes)
    found = stats.wilcoxon(changed.tolist(), method="exact" if exact else "approx")
    return float(min(1.0, found.pvalue))


def sign_flips(differences: Reals, *, seed: int) -> float:
    """Two-sided p of the mean difference among those with signs at random.

    All flips of up to 14 differences are tried, 20,000 drawn ones with the true one of more; so it
    is never less than one among the flips that were tried. Sums that rounding alone tells apart are
    the same, whatever the unit.
    """
    count = len(differences)
    if count <= ALL_FLIPS:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (FLIPS, count))
        bits = np.vstack([np.zeros((1, count), drawn.dtype), drawn])
    # einsum, not @: the sums of a BLAS may change with the number of its threads
    sums = np.abs(np.einsum("fc,c->f", 1.0 - 2.0 * bits, np.sort(differences)))
    # the first flips nothing; were it summed in another way than the others, rounding alone could
    # put it above all of them, its own among these
    least = sums[0] - ROUNDING * float(np.abs(differences).sum())
    return int((sums >= least).sum()) / len(sums)


def holm(values: Sequence[float]) -> list[float]:
    """p-values that hold for all of them together; NaN stays, and does not count."""
    known = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    found, highest = list(values), 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        found[place] = highest
    return found


def _rounded(value: float) -> float | None:
    """Six digits that count: a p-value may be small."""
    return None if math.isnan(value) else float(f"{value:.6g}")
