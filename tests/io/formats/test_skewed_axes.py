"""Axes that are not perpendicular: kept, made perpendicular, resampled or refused, by one rule."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import scans
from mass3d.errors import DataError
from mass3d.io.formats.skewed_axes import ROUNDING_VOX, STRAIGHTENED_VOX, fit_grid
from mass3d.io.read import read_grid, read_label, read_volume
from mass3d.io.write import write_label
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.volume import Volume
from oracles import geometry

SHAPE = (14, 12, 10)  # (i, j, k)
EDGES = (1.0, 1.5, 3.0)
SHEARS = st.tuples(*[st.floats(-0.02, 0.02)] * 3)


def sheared(shears: tuple[float, float, float], *, turned: int = 13) -> NDArray[np.float64]:
    """An oblique affine whose axes lean by these tangents: j to i, k to i, k to j."""
    rigid = geometry.affine(geometry.orientations()[turned], spacing_mm=EDGES, tilt_deg=(5, -8, 3))
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = shears
    affine = rigid.copy()
    affine[:3, :3] = (rigid[:3, :3] / EDGES) @ shear * EDGES
    return affine


def places(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """World coordinates (3, i, j, k) of all voxel centres."""
    index = np.stack([*np.indices(shape), np.ones(shape)])
    return np.einsum("ij,j...->i...", affine, index)[:3]


def ramp(affine: NDArray[np.float64], shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    """An image whose every voxel says where it lies."""
    x, y, z = places(affine, shape)
    return (10 * x - 7 * y + 3 * z).astype(np.float32)


def write(
    path: Path, affine: NDArray[np.float64], image: NDArray[np.float32] | None = None
) -> Path:
    """The ramp in the format of the suffix."""
    stored = ramp(affine) if image is None else image
    if path.suffix == ".nii":
        path.write_bytes(scans.nifti_bytes(stored, affine))
        return path
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    fields = {
        ".mha": {
            "TransformMatrix": " ".join(f"{x:.12g}" for x in (lps[:3, :3] / edges).T.ravel()),
            "Offset": " ".join(f"{x:.12g}" for x in lps[:3, 3]),
        },
        ".nrrd": {
            "space_directions": " ".join(
                f"({','.join(f'{x:.12g}' for x in column)})" for column in lps[:3, :3].T
            ),
            "space_origin": f"({','.join(f'{x:.12g}' for x in lps[:3, 3])})",
        },
    }
    i, j, k = map(float, edges)
    scan = scans.itk_image(stored, spacing=(i, j, k))
    return scans.write_itk(path, scan, packed=False, **fields[path.suffix])


def check_ramp(volume: Volume, *, least: float) -> None:
    """Every voxel that was seen lies where it says, and there are enough of them."""
    seen = volume.voxels > volume.voxels.min() + 1
    assert seen.mean() > least
    expected = ramp(volume.grid.affine, volume.voxels.shape)
    np.testing.assert_allclose(volume.voxels[seen], expected[seen], atol=0.05)


def cosines(volume: Volume) -> NDArray[np.float64]:
    axes = volume.grid.affine[:3, :3] / volume.spacing_mm
    return np.asarray(axes.T @ axes)


@given(SHEARS)
@example((0.0, 0.0, 0.0))
def test_no_voxel_moves_further_than_the_rule_says(shears: tuple[float, float, float]) -> None:
    affine = sheared(shears)
    fit = fit_grid(Path("x"), SHAPE, affine)
    if fit.to_file is not None:
        return
    np.testing.assert_array_equal(
        np.array(fit.source.affine), affine
    )  # the affine of the file, for the way back
    grid = fit.source.grid
    ours = np.stack([fit.source.from_canonical(x) for x in places(grid.affine, grid.shape)])
    apart = (ours - places(affine, SHAPE)).reshape(3, -1)
    vox = np.linalg.solve(grid.affine[:3, :3], apart)
    limit = STRAIGHTENED_VOX if fit.notes else ROUNDING_VOX
    assert np.abs(vox).max() <= limit + 1e-9
    axes = grid.affine[:3, :3] / grid.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=2e-6)


def test_rounding_of_a_header_is_not_told_and_changes_no_bit(tmp_path: Path) -> None:
    affine = sheared((0.0005, 0, 0)).astype(np.float32).astype(np.float64)
    volume = read_volume(write(tmp_path / "a.nii", affine))
    assert volume.repairs == ()
    np.testing.assert_array_equal(np.array(volume.source.affine), affine)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_axes_a_little_off_are_made_perpendicular_and_the_angle_is_told(
    tmp_path: Path, suffix: str
) -> None:
    affine = sheared((0, 0, math.tan(math.radians(0.8))))
    path = write(tmp_path / f"a{suffix}", affine)
    volume = read_volume(path)
    (told,) = volume.repairs
    assert told.startswith("axes that are 0.8 degrees from perpendicular: made perpendicular, ")
    np.testing.assert_allclose(cosines(volume), np.eye(3), atol=1e-9)
    stored = volume.source.from_canonical(volume.voxels)
    np.testing.assert_allclose(stored, ramp(affine), rtol=1e-6)  # not resampled
    assert read_grid(path).grid == volume.grid


def test_a_result_for_such_a_scan_has_the_very_affine_of_its_header(tmp_path: Path) -> None:
    scan = write(tmp_path / "a.nii", sheared((0, 0.01, 0)))
    volume = read_volume(scan)
    write_label(tmp_path / "b.nii", np.ones(volume.voxels.shape, np.uint8), volume.source)
    before, after = nib.load(scan), nib.load(tmp_path / "b.nii")
    assert isinstance(before, nib.Nifti1Image)
    assert isinstance(after, nib.Nifti1Image)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert read_label(tmp_path / "b.nii", like=volume).grid == volume.grid


@pytest.mark.parametrize("turned", [0, 7, 13, 20])
@pytest.mark.parametrize(
    ("shears", "angle"), [((0, 0, 0.3), 16.7), ((0, -0.3, 0), 16.7), ((0.2, 0.1, -0.3), 20.1)]
)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_real_shear_is_resampled_to_a_regular_grid_and_the_angle_is_told(
    tmp_path: Path, suffix: str, shears: tuple[float, float, float], angle: float, turned: int
) -> None:
    path = write(tmp_path / f"a{suffix}", sheared(shears, turned=turned))
    volume = read_volume(path)
    told = f"axes that are {angle} degrees from perpendicular: resampled to a regular grid"
    assert volume.repairs == (told,)
    np.testing.assert_allclose(cosines(volume), np.eye(3), atol=1e-6)
    check_ramp(volume, least=0.25)
    assert read_grid(path).grid == volume.grid


def test_slices_that_are_stacked_aslant_are_moved_within_their_own_plane(tmp_path: Path) -> None:
    """As in DICOM: no slice is mixed with another, so noise in one stays there."""
    affine = sheared((0, 0, 0.3), turned=0)
    image = np.zeros(SHAPE, np.float32)
    image[:, :, 4] = 100
    image[:, :, 7] = -1
    volume = read_volume(write(tmp_path / "a.nii", affine, image))
    stack = volume.source.from_canonical(volume.voxels)
    assert stack.shape[2] == SHAPE[2]
    assert [bool((stack[:, :, k] > 0).any()) for k in range(10)] == [k == 4 for k in range(10)]
    assert set(np.unique(stack[:, :, 4])) == {-1, 100}


def test_a_sheared_label_lies_on_the_grid_of_its_scan_and_has_only_its_values(
    tmp_path: Path,
) -> None:
    affine = sheared((0, 0, -0.25))
    values = np.random.default_rng(0).choice([0, 3, 9], SHAPE).astype(np.float32)
    volume = read_volume(write(tmp_path / "a.nii", affine))
    label = read_label(write(tmp_path / "b.nii", affine, values), like=volume)
    assert label.grid == volume.grid
    assert set(np.unique(label.voxels)) == {0, 3, 9}
    outside = volume.voxels == volume.voxels.min()
    assert outside.sum() > 100
    assert (label.voxels[outside] > 0).sum() <= 1  # at the one voxel that really is the lowest


@pytest.mark.parametrize(
    ("affine", "angle"),
    [
        (sheared((0, 1.2, 0)), "50.2"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "90"),
        (np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]]), "90"),
    ],
)
def test_axes_that_hardly_span_space_are_refused(
    tmp_path: Path, affine: NDArray[np.float64], angle: str
) -> None:
    for read in (read_volume, read_grid):
        with pytest.raises(DataError) as caught:
            read(write(tmp_path / "a.nii", affine))
        assert caught.value.found == f"axes that are {angle} degrees from perpendicular"
        assert caught.value.expected == "perpendicular axes, or a shear of at most 45 degrees"


def test_a_shear_that_needs_a_far_larger_grid_is_refused() -> None:
    """Thick slices and minute pixels: the regular grid would not fit into memory."""
    affine = np.diag([0.001, 1.0, 500.0, 1.0])
    affine[0, 2] = 50
    with pytest.raises(DataError, match=r"axes that are 5\.71 degrees from perpendicular"):
        fit_grid(Path("x"), SHAPE, affine)


def test_the_grid_of_a_sheared_source_outlives_json() -> None:
    source = SourceGrid.nearest(SHAPE, sheared((0.01, 0, 0)))
    assert SourceGrid.from_plain(source.plain()).grid == source.grid
