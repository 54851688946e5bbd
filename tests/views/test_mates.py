from collections import Counter

from mass3d.store.reader import StoredCase
from mass3d.views.mates import draw_mates, group_of


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
