import tracemalloc
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.store.reader import StoredCase
from mass3d.views import mates
from mass3d.views.mates import Pair, draw_mates, group_of


def test_every_scan_gets_mates_before_any_gets_more() -> None:
    for count in (0, 3, 10, 25, 1000):
        pairs = draw_mates([""] * 10, count, seed=0)
        assert len(set(pairs)) == len(pairs) == min(count, 90)
        assert all(a != b for a, b in pairs)
        queries = Counter(query for _, query in pairs)
        assert max(queries.values(), default=0) - min(queries.values(), default=0) <= 1
    assert (
        draw_mates([""] * 10, 25, seed=0)
        == draw_mates([""] * 10, 25, seed=0)
        != draw_mates([""] * 10, 25, seed=1)
    )
    assert draw_mates([""], 25, seed=0) == ()


def test_a_group_is_one_modality_of_one_store(cases: list[StoredCase]) -> None:
    pairs = draw_mates([group_of(case) for case in cases], 100, seed=0)
    assert len(pairs) == 4  # two CT and two MR, either way
    assert all(cases[a].modality == cases[b].modality for a, b in pairs)


def every_pair_first(
    groups: Sequence[str], alignments: int, seed: int, shares: NDArray[np.float64] | None
) -> tuple[Pair, ...]:
    """As pairs were drawn when all of them were listed before most were left out."""
    num_cases, rng = len(groups), np.random.default_rng((seed, 3))
    queries, used = rng.permutation(num_cases), np.ones(num_cases, np.bool_)
    if shares is not None:
        used = shares > 0
        queries = rng.choice(num_cases, int(used.sum()), replace=False, p=shares)
    among = {}
    for query in queries[:alignments].tolist():
        others = rng.permutation(np.delete(np.arange(num_cases), query)).tolist()
        among[query] = [n for n in others if groups[n] == groups[query] and used[n]]
    turns = range(num_cases)
    pairs = [(m[turn], query) for turn in turns for query, m in among.items() if turn < len(m)]
    return tuple(sorted(pairs[:alignments]))


@pytest.mark.parametrize("alignments", [0, 1, 5, 12, 13, 14, 30, 100, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_seed_gives_the_pairs_that_it_gave(alignments: int, weighted: bool) -> None:
    groups = ["a"] * 3 + ["b"] * 9 + ["alone"]
    weights = np.array([0.2, 0.0, 0.1] + [0.05] * 4 + [0.0] * 3 + [0.1] * 3)
    shares = weights / weights.sum() if weighted else None
    for seed in range(3):
        expected = every_pair_first(groups, alignments, seed, shares)
        assert draw_mates(groups, alignments, seed, shares=shares) == expected


def test_no_more_pairs_are_made_than_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of 20,000 scans are 400 million; listed for each query, they took GiBs."""
    made = Counter[str]()

    def counted(*arguments: object) -> object:
        for pair in in_turn(*arguments):  # type: ignore[arg-type]
            made["pairs"] += 1
            yield pair

    in_turn = mates._in_turn
    monkeypatch.setattr(mates, "_in_turn", counted)
    tracemalloc.start()
    try:
        pairs = draw_mates([""] * 20_000, 300, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(set(pairs)) == 300
    assert made["pairs"] == 300
    assert peak < 2**23  # some arrays as long as the cohort: not one for every query
