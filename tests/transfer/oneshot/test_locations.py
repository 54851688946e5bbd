"""Places of structures in the world and in the voxels of a file."""

from __future__ import annotations

import csv
import io

import nibabel as nib
import numpy as np
import pytest

from mass3d.io.read import read_volume
from mass3d.transfer.oneshot.location import Place
from mass3d.transfer.oneshot.locations import Found, Location, as_csv, as_json, location
from mass3d.volume.preparation import PreparationConfig, prepare_volume

FOUND: dict[str, Found] = {
    "a": {"liver": Location(((1.0, 2, 3), (4.0, 5, 6)), ((7, 8, 9), (10, 11, 12)), 0.5)},
    "b": {"liver": None},
}


@pytest.mark.parametrize(
    "axes",
    [
        np.diag([2.0, 2, 2, 1]),
        np.array([[0, 0, -2.0, 40], [2, 0, 0, 3], [0, 2, 0, 5], [0, 0, 0, 1]]),
    ],
)
def test_a_box_is_where_its_voxels_are_in_the_file(tmp_path, axes) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(20, 24, 28)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, axes), tmp_path / "a.nii")
    scan = prepare_volume(
        read_volume(tmp_path / "a.nii"), PreparationConfig(spacing_mm=2.0, modality="mr")
    )
    box = (slice(3, 8), slice(4, 10), slice(5, 6))
    told = location(Place(box, 0.12345), scan)
    assert told.confidence == 0.123
    first, stop = told.box_vox
    inside = image[tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))]
    np.testing.assert_allclose(
        sorted((inside - image.mean()).ravel() / image.std()),
        sorted(scan.image[box].ravel()),
        atol=0.3,
    )
    edges = np.array([[*np.array(first) - 0.5, 1], [*np.array(stop) - 0.5, 1]]) @ axes.T
    np.testing.assert_allclose(edges[:, :3].min(0), told.box_mm[0], atol=0.02)
    np.testing.assert_allclose(edges[:, :3].max(0), told.box_mm[1], atol=0.02)


def test_tables_have_a_row_for_each_structure() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(FOUND))))
    assert [len(row) for row in rows] == [15, 15, 15]
    assert rows[1] == [
        "a",
        "liver",
        "0.5",
        "1.0",
        "2",
        "3",
        "4.0",
        "5",
        "6",
        *map(str, range(7, 13)),
    ]
    assert rows[2][2:] == [""] * 13
    assert as_json(FOUND)["a"]["liver"]["confidence"] == 0.5
    assert as_json(FOUND)["b"] == {"liver": None}
