import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from mass3d.masks.hierarchy import regions
from mass3d.masks.hierarchy.regions import Pairs, basins, build_graph, region_sums, relabel
from oracles import regions as oracle

SHAPE = (5, 4, 6)
RELIEFS = arrays.arrays(
    np.float32,
    st.tuples(*[st.integers(2, 4)] * 3),
    elements=st.integers(0, 9).map(float),  # few values: plateaus and equally low neighbours
)


def image(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


@settings(max_examples=40, deadline=None)
@given(RELIEFS)
def test_every_voxel_lies_in_the_basin_that_following_it_down_leads_to(relief: np.ndarray) -> None:
    np.testing.assert_array_equal(basins(relief), oracle.basins(relief))


@settings(max_examples=40, deadline=None)
@given(RELIEFS)
def test_a_basin_is_connected_across_faces(relief: np.ndarray) -> None:
    found = basins(relief)
    for number in range(1, found.max() + 1):
        assert ndimage.label(found == number)[1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_borders_and_sizes_are_those_of_looking_at_every_face(seed: int) -> None:
    scan = image(seed)
    graph = build_graph(scan, 0.3)
    assert graph is not None
    gradient = ndimage.gaussian_gradient_magnitude(scan, 0.3, mode="nearest")
    faces = oracle.borders(graph.regions, gradient)
    pairs = list(zip((graph.first + 1).tolist(), (graph.second + 1).tolist(), strict=True))
    assert pairs == sorted(faces)
    np.testing.assert_allclose(graph.edge, [np.mean(faces[pair]) for pair in pairs], rtol=1e-5)
    np.testing.assert_array_equal(graph.border, [len(faces[pair]) for pair in pairs])
    for region in range(1, len(graph.size) + 1):
        inside = graph.regions == region
        assert graph.size[region - 1] == inside.sum()
        assert graph.mean[region - 1] == pytest.approx(scan[inside].mean())


def test_working_in_blocks_leaves_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = image(1, (30, 12, 11))
    whole = build_graph(scan, 1.0)
    monkeypatch.setattr(regions, "BLOCK_VOX", 1)  # a plane at a time
    monkeypatch.setattr(regions, "FACE_BLOCKS", 1000)
    planes = build_graph(scan, 1.0)
    assert whole is not None
    assert planes is not None
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(planes, name), value, rtol=1e-6, err_msg=name)


def test_a_constant_scan_is_one_region_and_has_no_graph() -> None:
    assert build_graph(np.zeros(SHAPE, np.float32), 0.5) is None


def test_pairs_are_one_whichever_comes_first() -> None:
    pairs = Pairs.of(np.array([2, 0, 1]), np.array([0, 2, 3]), count=4)
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(0, 2), (1, 3)]
    np.testing.assert_array_equal(pairs.sum(np.array([1.0, 2.0, 4.0])), [3, 4])
    np.testing.assert_array_equal(pairs.lowest(np.array([7, 5, 6])), [5, 6])


def test_sums_and_new_numbers_of_regions() -> None:
    found = np.array([[[1, 2, 2]], [[3, 1, 3]]], np.int32)
    np.testing.assert_array_equal(region_sums(found, np.arange(6).reshape(2, 1, 3), 3), [4, 3, 8])
    np.testing.assert_array_equal(relabel(found, np.array([5, 6, 5])), [[[5, 6, 6]], [[5, 5, 5]]])
