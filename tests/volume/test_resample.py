import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mass3d.volume import resample
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.resample import (
    linear_weights,
    nearest,
    place_image,
    place_label,
    resample_image,
    resample_label,
)
from mass3d.volume.volume import Volume
from oracles import geometry
from oracles import resample as oracle

sizes = st.integers(1, 6)
edges = st.floats(0.3, 4.0)
counts = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """A small oblique grid, and the same box with other voxels."""
    matrix = geometry.affine(
        np.eye(3), spacing_mm=draw(st.tuples(edges, edges, edges)), tilt_deg=(10.0, -20.0, 5.0)
    )
    old = SourceGrid.nearest(draw(st.tuples(sizes, sizes, sizes)), matrix).grid
    return old, old.resampled(draw(st.tuples(edges, edges, edges)))


def grid(shape: tuple[int, int, int], edge_mm: float = 1.0) -> Grid:
    return SourceGrid.nearest(shape[::-1], np.diag([edge_mm, edge_mm, edge_mm, 1.0])).grid


@settings(max_examples=40)
@given(grids(), seeds)
def test_images_are_resampled_as_the_slow_way_does(pair: tuple[Grid, Grid], seed: int) -> None:
    old, new = pair
    voxels = np.random.default_rng(seed).uniform(-1000, 1000, old.shape)
    fast = resample_image(voxels, old, new)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, oracle.image(voxels, old, new), rtol=0, atol=1e-2)


@given(grids(), st.integers(-3000, 3000))
def test_a_constant_stays_that_constant(pair: tuple[Grid, Grid], value: int) -> None:
    old, new = pair
    image = resample_image(np.full(old.shape, value), old, new)
    np.testing.assert_allclose(image, value, rtol=1e-6)


@given(grids(), seeds)
def test_no_resampled_value_leaves_the_range_of_the_scan(
    pair: tuple[Grid, Grid], seed: int
) -> None:
    old, new = pair
    voxels = np.random.default_rng(seed).uniform(0, 1, old.shape)
    image = resample_image(voxels, old, new)
    assert image.min() >= voxels.min() - 1e-6
    assert image.max() <= voxels.max() + 1e-6


@pytest.mark.parametrize("to", [2.0, 2.3, 3.0, 4.7])
def test_a_chequerboard_shrinks_to_grey(to: float) -> None:
    old = grid((24, 24, 24))
    board = np.where(np.indices(old.shape).sum(0) % 2 == 0, 100.0, -100.0)
    assert np.abs(resample_image(board, old, old.resampled((to, to, to)))).max() < 2.5


@pytest.mark.parametrize("to", [2.0, 2.3, 3.0, 4.7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stripes_thinner_than_a_new_voxel_become_grey_along_every_axis(
    axis: int, to: float
) -> None:
    old = grid((48, 48, 48))
    stripes = np.where(np.indices(old.shape)[axis] % 2 == 0, 100.0, -100.0)
    image = resample_image(stripes, old, old.resampled((to, to, to)))
    inside = np.moveaxis(image, axis, 0)[2:-2]  # at the edges the last stripe goes on
    assert np.abs(inside).max() < 12  # a ninth, where three voxels become one


@given(counts, counts)
def test_a_label_is_that_of_the_voxel_which_holds_the_new_centre(old: int, new: int) -> None:
    assert nearest(old, new).tolist() == oracle.nearest(old, new)


@given(grids(), seeds)
def test_labels_are_resampled_along_every_axis(pair: tuple[Grid, Grid], seed: int) -> None:
    old, new = pair
    voxels = np.random.default_rng(seed).integers(0, 60000, old.shape, dtype=np.uint16)
    label = resample_label(voxels, old, new)
    assert label.dtype == np.uint16
    d, h, w = (oracle.nearest(o, n) for o, n in zip(old.shape, new.shape, strict=True))
    np.testing.assert_array_equal(label, voxels[np.ix_(d, h, w)])


@given(old=st.integers(2, 60), new=counts)
def test_labels_and_images_stay_aligned_at_any_ratio(old: int, new: int) -> None:
    """An image of positions and the positions that labels are taken from: nowhere far apart."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    image = linear_weights(old, new) @ np.arange(old, dtype=np.float64)
    reach = max(1.0, old / new)
    inside = (centres >= reach) & (centres <= old - 1 - reach)  # no edge in the triangle
    assert np.abs(image - centres)[inside].max(initial=0) < 0.1
    assert np.abs(nearest(old, new) - centres).max() <= 0.5 + 1e-9


def test_a_region_and_its_picture_cover_the_same_voxels_after_shrinking_threefold() -> None:
    old = grid((30, 27, 33))
    new = old.resampled((3.0, 3.0, 3.0))
    region = np.zeros(old.shape, np.uint8)
    region[6:21, 9:18, 12:30] = 1
    np.testing.assert_array_equal(
        resample_image(region, old, new) > 0.5, resample_label(region, old, new)
    )


def test_large_scans_are_resampled_in_slabs_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = grid((9, 10, 11))
    new = old.resampled((0.7, 2.0, 1.3))
    voxels = np.random.default_rng(0).normal(size=old.shape)
    whole = resample_image(voxels, old, new)
    monkeypatch.setattr(resample, "SLAB_VOXELS", 100)
    np.testing.assert_array_equal(resample_image(voxels, old, new), whole)


@pytest.mark.parametrize("function", [resample_image, resample_label])
def test_grids_of_different_boxes_are_a_mistake_of_the_caller(function: object) -> None:
    old = grid((5, 6, 7))
    assert callable(function)
    for other in (grid((5, 6, 8)), grid((5, 6, 7), edge_mm=1.1)):
        with pytest.raises(AssertionError, match="different boxes"):
            function(np.zeros(old.shape), old, other)


def turned(degrees: float, spacing_mm: tuple[float, float, float], shift: float) -> Grid:
    """A grid of that spacing, turned about two axes and shifted."""
    a, b = np.radians([degrees, degrees / 2])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.eye(3)[::-1] * np.array(spacing_mm)
    affine[:3, 3] = shift
    return Grid.make((11, 13, 9), affine)


def some_label() -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 9, (14, 12, 10)).astype(np.uint16)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 7.0, 40.0])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.7, 1.9, 1.1)])
def test_a_label_on_another_grid_goes_where_its_nearest_voxel_is(
    degrees: float, spacing_mm: tuple[float, float, float]
) -> None:
    label = some_label()
    old = Volume.from_array(label).grid
    new = turned(degrees, spacing_mm, shift=1.3)
    np.testing.assert_array_equal(place_label(label, old, new), oracle.label(label, old, new))


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (1.5, 1.5, 1.5), (0.5, 0.6, 3.0)])
def test_a_label_on_the_grid_of_its_scan_moves_as_labels_of_a_store_do(
    spacing_mm: tuple[float, float, float],
) -> None:
    label = some_label()
    old = Volume.from_array(label).grid
    new = old.resampled(spacing_mm)
    np.testing.assert_array_equal(place_label(label, old, new), resample_label(label, old, new))


@settings(max_examples=20)
@given(st.tuples(sizes, sizes, sizes), st.tuples(sizes, sizes, sizes), seeds)
def test_an_image_is_placed_where_it_lies_in_the_world(
    one: tuple[int, int, int], other: tuple[int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    old, new = (
        SourceGrid.nearest(
            shape,
            geometry.affine(np.eye(3), spacing_mm=(1.5,) * 3, tilt_deg=tuple(rng.normal(0, 9, 3)))
            + np.pad(rng.normal(0, 2, (3, 1)), ((0, 1), (3, 0))),
        ).grid
        for shape in (one, other)
    )
    voxels = rng.uniform(-3, 3, old.shape).astype(np.float32)
    placed = place_image(voxels, old, new)
    assert placed.dtype == np.float32
    expected = oracle.image(voxels.astype(np.float64), old, new)
    np.testing.assert_allclose(placed, expected, rtol=0, atol=1e-5)
