from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.volume.geometry import Grid
from mass3d.volume.spacing import automatic_spacing_mm, is_too_small, voxels_at

Edges = tuple[float, float, float]


def grid(*spacing_mm: float, shape: tuple[int, int, int] = (20, 20, 20)) -> Grid:
    return Grid.make(shape, np.diag([*spacing_mm, 1.0]))


def test_automatic_spacing_is_the_typical_one() -> None:
    assert automatic_spacing_mm(grid(s, 1, 1) for s in (5, 8, 8, 9)) == 2.0
    assert automatic_spacing_mm(grid(s, s, s) for s in (2, 2, 3, 3)) == 2.5


def test_automatic_spacing_is_not_too_fine_and_needs_no_scan() -> None:
    assert automatic_spacing_mm([grid(0.5, 0.5, 0.5)]) == 1.0
    assert automatic_spacing_mm([]) == 1.0


def test_many_small_crops_do_not_decide_for_large_scans() -> None:
    crops = [grid(1, 1, 1, shape=(36, 50, 35))] * 220
    scans = [grid(2.5, 3.9, 3.9, shape=(128, 128, 128))] * 133
    assert automatic_spacing_mm(crops) == 1.0
    assert automatic_spacing_mm([*crops, *scans]) == automatic_spacing_mm(scans) == 3.4


@given(
    st.lists(st.tuples(st.sampled_from([1.0, 1.5, 2.0, 3.0, 5.0]), st.integers(1, 40)), min_size=1)
)
def test_automatic_spacing_is_the_median_over_all_voxels(scans: list[tuple[float, int]]) -> None:
    found = automatic_spacing_mm(grid(edge, edge, edge, shape=(2, 3, n)) for edge, n in scans)
    every_voxel = np.repeat([edge for edge, _ in scans], [6 * n for _, n in scans])
    assert found == pytest.approx(round(float(np.median(every_voxel)), 1))


@pytest.mark.parametrize(
    ("shape", "edge_mm", "spacing_mm", "after", "small"),
    [
        ((36, 50, 35), 1.0, 1.0, (36, 50, 35), False),
        ((36, 50, 35), 1.0, 2.2, (16, 23, 16), False),
        ((36, 50, 35), 1.0, 2.3, (16, 22, 15), True),
        ((12, 50, 50), 1.0, 1.0, (12, 50, 50), True),  # also one that was as small before
        ((12, 50, 50), 5.0, 3.0, (20, 83, 83), False),
        ((2, 50, 50), 0.1, 3.0, (1, 2, 2), True),
    ],
)
def test_a_prepared_scan_is_too_small_below_sixteen_voxels_along_an_axis(
    shape: tuple[int, int, int],
    edge_mm: float,
    spacing_mm: float,
    after: tuple[int, int, int],
    small: bool,
) -> None:
    found = voxels_at(spacing_mm, shape, (edge_mm,) * 3)
    assert found == after == grid(*(edge_mm,) * 3, shape=shape).resampled((spacing_mm,) * 3).shape
    assert is_too_small(found) is small
