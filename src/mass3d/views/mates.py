"""Which scans are shown beside which others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mass3d.store.reader import StoredCase

Pair = tuple[int, int]  # numbers of the reference and of the query among the cases


def group_of(case: StoredCase) -> tuple[str, str]:
    """The store and the modality of a case: what is shown beside each other is of one kind."""
    return str(case.folder.parents[1]), case.modality


def draw_mates(
    groups: Sequence[object],
    alignments: int,
    seed: int,
    *,
    shares: NDArray[np.float64] | None = None,
) -> tuple[Pair, ...]:
    """Pairs of different cases of one group: as many queries as can be, then further references.

    groups: of each case, as `group_of`. At most `alignments` pairs in all, each once.
    With `shares` of the draws, cases that are drawn more often come first, and those that are never
    drawn are no references either: a weight of 0 says that nothing is learned from them.
    """
    num_cases, rng = len(groups), np.random.default_rng((seed, 3))
    queries, used = rng.permutation(num_cases), np.ones(num_cases, np.bool_)
    if shares is not None:
        used = shares > 0
        queries = rng.choice(num_cases, int(used.sum()), replace=False, p=shares)
    queries = queries[:alignments]
    _, group = np.unique([str(one) for one in groups], return_inverse=True)
    among = []  # of each query, its references in a random order
    for query in queries:
        others = rng.permutation(np.delete(np.arange(num_cases), query))
        among.append(others[(group[others] == group[query]) & used[others]])
    pairs = [
        (int(among[i][turn]), int(query))
        for turn in range(max(map(len, among), default=0))
        for i, query in enumerate(queries)
        if turn < len(among[i])
    ]
    return tuple(sorted(pairs[:alignments]))
