from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mass3d.transfer.oneshot import output
from mass3d.transfer.oneshot.output import labels_of_slabs, labels_on
from mass3d.volume.box import box_at, whole_box
from mass3d.volume.geometry import Grid
from mass3d.volume.resample import resample_image

SOURCE = Grid.make((37, 50, 41), np.diag([0.8, 1.1, 2.0, 1.0]))


@pytest.mark.parametrize("spacing", [0.7, 2.0, 3.5])
@pytest.mark.parametrize("slab", [2**25, 1])
def test_labels_are_those_of_whole_probabilities(
    monkeypatch: pytest.MonkeyPatch, spacing: float, slab: int
) -> None:
    monkeypatch.setattr(output, "SLAB_VALUES", slab)
    grid = SOURCE.resampled((spacing, spacing, spacing))
    rng = np.random.default_rng(0)
    start = [n // 5 for n in grid.shape]
    size = [max(1, n // 2) for n in grid.shape]
    votes = rng.dirichlet([0.3, 0.3, 0.3], size).astype(np.float32)  # background first
    part = np.ascontiguousarray(np.moveaxis(votes[..., 1:], -1, 0))
    box = box_at(start, (size[0], size[1], size[2]))
    whole = np.zeros((2, *grid.shape), np.float32)
    whole[(slice(None), *box)] = part
    fine = np.stack([resample_image(channel, grid, SOURCE) for channel in whole])
    background = 1 - fine.sum(0)
    expected = np.array([0, 7, 300])[np.concatenate([background[None], fine]).argmax(0)]
    found = labels_on(SOURCE, part, box, grid, [7, 300])
    assert found.dtype == np.uint16
    assert (found != expected).mean() < 1e-4  # ties
    assert set(np.unique(found)) == {0, 7, 300}


def test_every_part_of_a_structure_is_kept_however_small() -> None:
    """The other kidney, and a lesion of a voxel: nothing but the largest part is not an answer."""
    grid = Grid.make((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    votes = np.zeros((1, 20, 20, 20), np.float32)
    parts = ((slice(2, 9),) * 3, (slice(12, 16),) * 3, (18, 3, 17))
    for part in parts:
        votes[0][part] = 0.9
    for found in (
        labels_on(grid, votes, whole_box(grid.shape), grid, [5]),
        labels_of_slabs(grid, [(0, votes)], grid, [5]),
    ):
        assert (found == 5 * (votes[0] > 0)).all()
        assert [int((found[part] == 5).sum()) for part in parts] == [343, 64, 1]


def test_an_empty_box_has_no_label() -> None:
    grid = SOURCE.resampled((2, 2, 2))
    box = box_at((3, 3, 3), (0, 4, 4))
    assert labels_on(SOURCE, np.zeros((1, 0, 4, 4), np.float32), box, grid, [1]).sum() == 0


@pytest.mark.parametrize("spacing", [0.45, 0.7, 2.0, 3.5])
@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 9], [2, 5, 7]])
def test_labels_from_slice_to_slice_are_those_of_the_whole(spacing: float, cuts: list[int]) -> None:
    grid = SOURCE.resampled((spacing, spacing, spacing))
    votes = np.random.default_rng(1).dirichlet([0.3, 0.3, 0.3], grid.shape).astype(np.float32)
    whole = np.ascontiguousarray(np.moveaxis(votes[..., 1:], -1, 0))
    edges = [0, *cuts, grid.shape[0]]
    slabs = [(a, whole[:, a:b]) for a, b in pairwise(edges)]
    found = labels_of_slabs(SOURCE, slabs, grid, [7, 300])
    expected = labels_on(SOURCE, whole, whole_box(grid.shape), grid, [7, 300])
    np.testing.assert_array_equal(found, expected)


def test_structures_asked_for_one_by_one_are_labelled_above_a_level() -> None:
    grid = Grid.make((1, 2, 3), np.eye(4))
    votes = np.array([[0.4, 0.6, 0.9, 0.5, 0, 1], [0.3, 0.7, 0.8, 0.2, 0, 1]], np.float32)
    slabs = [(0, votes.reshape(2, 1, 2, 3))]
    found = labels_of_slabs(grid, slabs, grid, [3, 9], above=0.5)
    assert found.ravel().tolist() == [0, 9, 3, 0, 0, 3]  # of equal ones the first


@pytest.mark.parametrize("spacing", [0.45, 3.5])
def test_slabs_of_structures_asked_for_one_by_one_are_those_of_the_whole(spacing: float) -> None:
    grid = SOURCE.resampled((spacing, spacing, spacing))
    votes = np.random.default_rng(2).random((2, *grid.shape), np.float32)
    fine = np.stack([np.full(SOURCE.shape, 0.6), *(resample_image(v, grid, SOURCE) for v in votes)])
    slabs = [(a, votes[:, a : a + 3]) for a in range(0, grid.shape[0], 3)]
    found = labels_of_slabs(SOURCE, slabs, grid, [7, 300], above=0.6)
    assert (found != np.array([0, 7, 300])[fine.argmax(0)]).mean() < 1e-4  # ties
    assert set(np.unique(found)) == {0, 7, 300}


def test_of_nested_regions_the_innermost_is_written() -> None:
    grid = Grid.make((1, 1, 4), np.eye(4))
    votes = np.array([[0.4, 0.9, 0.9, 1.0], [0.4, 0.6, 0.2, 1.0], [0.3, 0.1, 0.1, 0.6]], np.float32)
    slabs = [(0, votes.reshape(3, 1, 1, 4))]
    found = labels_of_slabs(grid, slabs, grid, [1, 3, 2], above=0.5, nested=True)
    assert found.ravel().tolist() == [0, 3, 1, 2]
