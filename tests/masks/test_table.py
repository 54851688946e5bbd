from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.masks.packing import encode
from mass3d.masks.table import MaskTable, no_masks
from oracles import masks as oracle

SHAPE = (4, 5, 6)


def boxes(seed: int, count: int = 8) -> list[np.ndarray]:
    """Masks that nest and cross as they happen to."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        low = [int(rng.integers(0, n)) for n in SHAPE]
        high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, SHAPE, strict=True)]
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        found.append(mask)
    return found


def of_intervals(layers: list[int], intervals: list[tuple[int, int]]) -> MaskTable:
    """A table that knows nothing but its intervals."""
    count = len(intervals)
    first, last = (np.array(column, np.uint32) for column in zip(*intervals, strict=True))
    return MaskTable(
        layer=np.array(layers, np.int16),
        first=first,
        last=last,
        parent=np.full(count, -1, np.int32),
        voxels=np.ones(count, np.int64),
        box=np.zeros((count, 6), np.int32),
        score=np.ones(count, np.float32),
        engine=np.full(count, "x"),
    )


@given(st.integers(0, 10**6))
def test_what_lies_in_a_mask_is_found_voxel_by_voxel(seed: int) -> None:
    coded = encode(boxes(seed))
    table = coded.table
    for row in range(len(table)):
        ranks = coded.ranks[table.layer[row]]
        plain = oracle.interval(ranks, int(table.first[row]), int(table.last[row]))
        np.testing.assert_array_equal(table.inside(row, ranks), plain)


@given(st.integers(0, 10**6))
def test_masks_are_counted_on_any_part_of_the_maps(seed: int) -> None:
    coded = encode(boxes(seed))
    table = coded.table
    for part in (np.s_[:, :, :, :], np.s_[:, 1:3, :2, 2:]):
        ranks = coded.ranks[part]
        plain = [
            int(oracle.interval(ranks[layer], int(first), int(last)).sum())
            for layer, first, last in zip(table.layer, table.first, table.last, strict=True)
        ]
        assert table.count(ranks).tolist() == plain
    assert table.count(coded.ranks).tolist() == table.voxels.tolist()


def test_sums_over_ranks_may_have_columns() -> None:
    table = of_intervals([0, 0], [(1, 3), (2, 2)])
    of_ranks = np.array([[9, 9], [1, 10], [2, 20], [4, 40]])
    assert table.sums(np.array([0, 1]), of_ranks).tolist() == [[7, 70], [2, 20]]


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda ends: (min(ends), max(ends))),
        min_size=1,
        max_size=6,
    )
)
def test_a_layer_whose_intervals_cross_is_found(intervals: list[tuple[int, int]]) -> None:
    crossing = oracle.crosses(intervals)
    count = len(intervals)
    assert of_intervals([0] * count, intervals).crossing_layers() == ((0,) if crossing else ())
    apart = of_intervals(list(range(count)), intervals)
    assert apart.crossing_layers() == ()


def test_columns_of_different_lengths_are_refused() -> None:
    table = of_intervals([0, 0], [(1, 3), (2, 2)])
    with pytest.raises(AssertionError, match="different lengths"):
        replace(table, score=np.ones(3, np.float32))
    assert len(no_masks()) == 0


@given(st.integers(0, 10**6))
def test_a_rank_is_called_after_the_smallest_mask_that_holds_it(seed: int) -> None:
    coded = encode(boxes(seed))
    table = coded.table
    for layer, ranks in enumerate(coded.ranks):
        names = table.value_names(layer)
        assert set(np.unique(ranks).tolist()) - {0} <= set(names.values())
        for name, rank in names.items():
            holding = [
                row
                for row in table.rows_in(layer).tolist()
                if table.first[row] <= rank <= table.last[row]
            ]
            smallest = min(holding, key=lambda row: int(table.last[row]) - int(table.first[row]))
            assert name.split(",")[0] == f"mask {smallest}"


def test_further_ranks_of_a_mask_are_its_parts() -> None:
    table = of_intervals([0, 0, 1], [(1, 4), (2, 3), (1, 1)])
    assert table.value_names(0) == {
        "mask 0": 1,
        "mask 1": 2,
        "mask 1, part 2": 3,
        "mask 0, part 2": 4,
    }
    assert table.value_names(1) == {"mask 2": 1}
