import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.volume import Volume
from oracles import geometry as oracle

SHAPE = (3, 4, 5)
ORIENTATIONS = oracle.orientations()
Z, Y, X = 2, 1, 0

edges = st.floats(0.2, 8.0)
angles = st.floats(-180.0, 180.0)
sizes = st.integers(1, 6)


@st.composite
def sources(draw: st.DrawFn, tilts: st.SearchStrategy[float] = angles) -> SourceGrid:
    """Any shape, spacing and place, lying any way in the world."""
    matrix = oracle.affine(
        draw(st.sampled_from(ORIENTATIONS)),
        spacing_mm=draw(st.tuples(edges, edges, edges)),
        origin_mm=draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        tilt_deg=draw(st.tuples(tilts, tilts, tilts)),
    )
    return SourceGrid.nearest(draw(st.tuples(sizes, sizes, sizes)), matrix)


def test_there_are_48_orientations() -> None:
    assert len({axes.tobytes() for axes in ORIENTATIONS}) == 48


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_canonical_axes_point_to_superior_anterior_right(axes: np.ndarray) -> None:
    source = SourceGrid.nearest(SHAPE, oracle.affine(axes))
    columns = source.grid.affine[:3, :3]
    directions = columns / np.linalg.norm(columns, axis=0)
    np.testing.assert_array_equal(directions, np.eye(3)[:, [Z, Y, X]])


@given(sources())
def test_the_way_back_to_the_file_is_exact(source: SourceGrid) -> None:
    voxels = np.arange(np.prod(source.shape)).reshape(source.shape)
    canonical = source.to_canonical(voxels)
    assert canonical.shape == source.grid.shape
    np.testing.assert_array_equal(source.from_canonical(canonical), voxels)
    np.testing.assert_array_equal(source.to_canonical(source.from_canonical(canonical)), canonical)


@given(sources())
def test_no_voxel_moves_in_the_world(source: SourceGrid) -> None:
    in_file = oracle.positions(source.shape, np.array(source.affine))
    in_grid = oracle.positions(source.grid.shape, source.grid.affine)
    for axis in range(3):
        moved = source.to_canonical(in_file[..., axis])
        np.testing.assert_allclose(moved, in_grid[..., axis], rtol=0, atol=1e-9)


@given(sources(tilts=st.floats(-14.0, 14.0)))
def test_a_tilted_scan_takes_the_orientation_that_it_was_tilted_from(source: SourceGrid) -> None:
    columns = source.grid.affine[:3, :3]
    directions = columns / np.linalg.norm(columns, axis=0)
    np.testing.assert_array_equal(np.argmax(np.abs(directions), axis=0), [Z, Y, X])
    assert (directions[[Z, Y, X], [0, 1, 2]] > 0.8).all()


def test_a_scan_halfway_between_two_orientations_still_gets_one() -> None:
    source = SourceGrid.nearest(SHAPE, oracle.affine(np.eye(3), tilt_deg=(45.0, 0.0, 0.0)))
    assert sorted(source.permutation) == [0, 1, 2]
    assert np.linalg.det(source.grid.affine[:3, :3]) != 0


def test_equal_grids_are_equal_and_others_are_not() -> None:
    grid = SourceGrid.nearest(SHAPE, np.eye(4)).grid
    assert grid == SourceGrid.nearest(SHAPE, np.eye(4)).grid
    assert grid != SourceGrid.nearest(SHAPE, oracle.affine(np.eye(3))).grid
    assert grid != SourceGrid.nearest((3, 4, 6), np.eye(4)).grid


@given(sources())
def test_grids_survive_json(source: SourceGrid) -> None:
    written = json.dumps([source.plain(), source.grid.plain()])
    again, grid = json.loads(written)
    assert SourceGrid.from_plain(again) == source
    assert Grid.from_plain(grid) == source.grid


@given(sources(), st.tuples(edges, edges, edges))
def test_a_resampled_grid_covers_the_same_box(
    source: SourceGrid, spacing_mm: tuple[float, float, float]
) -> None:
    old = source.grid
    new = old.resampled(spacing_mm)
    for corner in np.ndindex(2, 2, 2):
        before, after = (
            (grid.affine @ np.append(np.array(corner) * grid.shape - 0.5, 1.0))[:3]
            for grid in (old, new)
        )
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)


@given(sources(), st.tuples(edges, edges, edges))
def test_a_resampled_grid_has_the_asked_spacing_as_nearly_as_whole_voxels_allow(
    source: SourceGrid, spacing_mm: tuple[float, float, float]
) -> None:
    old = source.grid
    new = old.resampled(spacing_mm)
    for axis in range(3):
        length = old.shape[axis] * old.spacing_mm[axis]
        assert new.shape[axis] >= 1
        assert abs(new.shape[axis] - length / spacing_mm[axis]) <= max(
            0.5 + 1e-6, 1 - length / spacing_mm[axis]
        )


@given(sources())
def test_resampling_to_the_own_spacing_changes_nothing(source: SourceGrid) -> None:
    again = source.grid.resampled(source.grid.spacing_mm)
    assert again.shape == source.grid.shape
    np.testing.assert_allclose(again.affine, source.grid.affine, rtol=0, atol=1e-12)


def test_a_volume_from_an_array_keeps_its_axes() -> None:
    volume = Volume.from_array(np.zeros(SHAPE), spacing_mm=(3.0, 2.0, 1.0))
    assert volume.grid.shape == SHAPE
    assert volume.spacing_mm == (3.0, 2.0, 1.0)
    assert volume.source.shape == SHAPE[::-1]
    voxels = np.random.default_rng(0).normal(size=SHAPE)
    np.testing.assert_array_equal(volume.source.to_canonical(voxels.T), voxels)


def test_voxels_and_grid_of_a_volume_must_have_one_shape() -> None:
    volume = Volume.from_array(np.zeros(SHAPE))
    with pytest.raises(AssertionError):
        Volume(np.zeros((3, 4, 4)), volume.grid, volume.source)
