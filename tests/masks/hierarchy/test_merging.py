import higra as hg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.masks.hierarchy.merging import merge
from mass3d.masks.hierarchy.regions import Graph
from mass3d.masks.hierarchy.settings import Merging

MERGINGS: tuple[Merging, ...] = ("edge", "contrast", "balanced", "volume", "area", "dynamics")


def chain(edge: list[float]) -> Graph:
    """Regions in a row, each touching the next."""
    count = len(edge) + 1
    return Graph(
        regions=np.arange(1, count + 1, dtype=np.int32).reshape(1, 1, count),
        first=np.arange(count - 1),
        second=np.arange(1, count),
        edge=np.array(edge, float),
        border=np.ones(count - 1),
        size=np.ones(count),
        mean=np.zeros(count),
    )


def random_graph(seed: int, side: int = 5) -> Graph:
    """A cube of one-voxel regions with random borders."""
    rng = np.random.default_rng(seed)
    regions = np.arange(1, side**3 + 1, dtype=np.int32).reshape(side, side, side)
    pairs = [
        (regions.take(range(side - 1), axis).ravel(), regions.take(range(1, side), axis).ravel())
        for axis in range(3)
    ]
    first, second = (np.concatenate(ends).astype(np.int64) - 1 for ends in zip(*pairs, strict=True))
    return Graph(
        regions,
        first,
        second,
        rng.random(len(first)),
        rng.integers(1, 9, len(first)).astype(float),
        rng.integers(1, 50, side**3).astype(float),
        rng.random(side**3),
    )


def leaves_below(parents: np.ndarray, count: int) -> list[frozenset[int]]:
    """The leaves of every node, the slow way."""
    below: list[set[int]] = [{i} if i < count else set() for i in range(len(parents))]
    for node, parent in enumerate(parents[:-1]):
        below[parent] |= below[node]
    return [frozenset(found) for found in below]


@pytest.mark.parametrize("merging", MERGINGS)
@pytest.mark.parametrize("seed", range(3))
def test_every_order_gives_one_tree_over_all_regions(merging: Merging, seed: int) -> None:
    graph = random_graph(seed)
    parents, altitudes = merge(graph, merging)
    count = len(graph.size)
    assert len(parents) == len(altitudes) <= 2 * count - 1
    assert (parents[:-1] > np.arange(len(parents) - 1)).all()
    assert parents[-1] == len(parents) - 1
    assert (np.bincount(parents[:-1])[count:] >= 2).all()
    assert (altitudes[parents] >= altitudes).all()
    assert len(leaves_below(parents, count)[-1]) == count


@pytest.mark.parametrize("merging", MERGINGS)
def test_equal_graphs_give_equal_trees(merging: Merging) -> None:
    (a, b), (c, d) = merge(random_graph(1), merging), merge(random_graph(1), merging)
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)


def test_the_weakest_borders_are_opened_first() -> None:
    parents, altitudes = merge(chain([0.1, 0.9, 0.2]), "edge")
    found = leaves_below(parents, 4)
    assert {frozenset({0, 1}), frozenset({2, 3})} <= set(found)
    assert altitudes[found.index(frozenset({0, 1}))] == pytest.approx(0.1)
    assert altitudes[found.index(frozenset({2, 3}))] == pytest.approx(0.2)
    assert altitudes[-1] == pytest.approx(0.9)


def test_the_strength_between_unions_is_the_mean_over_their_faces() -> None:
    square = Graph(  # 0-1 and 2-3 merge; two borders remain, of 1 and 3 faces
        regions=np.array([[[1, 2], [3, 4]]], np.int32),
        first=np.array([0, 2, 0, 1]),
        second=np.array([1, 3, 2, 3]),
        edge=np.array([0.1, 0.1, 0.4, 0.8]),
        border=np.array([1.0, 1.0, 1.0, 3.0]),
        size=np.ones(4),
        mean=np.zeros(4),
    )
    _, altitudes = merge(square, "edge")
    assert altitudes[-1] == pytest.approx((0.4 * 1 + 0.8 * 3) / 4)


@pytest.mark.parametrize("merging", ["contrast", "balanced"])
def test_regions_alike_in_intensity_merge_before_others_across_an_equal_border(
    merging: Merging,
) -> None:
    graph = chain([0.5, 0.5])
    unlike = Graph(**{**vars(graph), "mean": np.array([0.0, 0.7, 0.8])})
    assert frozenset({1, 2}) in leaves_below(merge(unlike, merging)[0], 3)


def test_only_when_balanced_do_small_regions_merge_before_large_ones_that_are_more_alike() -> None:
    graph = chain([0.4, 4.0, 0.5])
    sized = Graph(**{**vars(graph), "size": np.array([1000.0, 1000.0, 5.0, 5.0])})
    (edge, low), (balanced, high) = merge(sized, "edge"), merge(sized, "balanced")
    pairs = frozenset({0, 1}), frozenset({2, 3})
    large, small = (leaves_below(edge, 4).index(pair) for pair in pairs)
    assert low[large] < low[small]
    large, small = (leaves_below(balanced, 4).index(pair) for pair in pairs)
    assert high[small] < high[large]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True))
def test_in_a_row_of_regions_the_tree_is_that_of_exact_average_linkage(edge: list[int]) -> None:
    """No two borders ever join in a row, so averaging in rounds must not change anything."""
    graph = chain([float(value) for value in edge])
    plain = hg.UndirectedGraph(len(graph.size))
    plain.add_edges(graph.first, graph.second)
    tree, exact = hg.binary_partition_tree_average_linkage(plain, graph.edge)
    parents, altitudes = merge(graph, "edge")
    ours = zip(leaves_below(parents, len(graph.size)), altitudes, strict=True)
    theirs = zip(leaves_below(tree.parents(), len(graph.size)), exact, strict=True)
    assert dict(ours) == dict(theirs)
