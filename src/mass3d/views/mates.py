"""Which scans are shown beside which others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

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
    mates = np.bincount(group[used], minlength=num_cases)[group[queries]] - 1
    turns = _enough_turns(mates, alignments)
    among = []  # of each query, its first references in a random order
    for query in queries:
        others = rng.permutation(np.delete(np.arange(num_cases), query))
        among.append(others[(group[others] == group[query]) & used[others]][:turns].copy())
    pairs = _in_turn(among, queries, turns)
    return tuple(sorted(islice(pairs, alignments)))


def _enough_turns(mates: NDArray[np.int64], wanted: int) -> int:
    """The fewest rounds that give so many pairs, where each query gets one reference in each.

    mates: how many references there are for each query. Once all are given: as many as there are.
    """
    most = int(mates.max(initial=0))
    enough = (turns for turns in range(most) if np.minimum(mates, turns).sum() >= wanted)
    return next(enough, most)


def _in_turn(
    among: Sequence[NDArray[np.int64]], queries: NDArray[np.int64], turns: int
) -> Iterator[Pair]:
    """A first reference for every query, then a second one, and so on."""
    for turn in range(turns):
        for references, query in zip(among, queries, strict=True):
            if turn < len(references):
                yield int(references[turn]), int(query)
