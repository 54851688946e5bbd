"""What viewers get of a scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from dicoms import series
from mass3d.errors import DataError
from mass3d.io.read import read_volume
from mass3d.server import volumes as room
from mass3d.server.site import Site
from mass3d.server.volumes import SMALL, small_volume, steps_of
from mass3d.volume.volume import Volume
from servers import a_label, site_of, write_scan

TURNED = np.array([[0, -3.0, 0, 9], [0, 0, 4.0, -5], [2.0, 0, 0, 1], [0, 0, 0, 1]])


def site_with(tmp_path: Path, voxels: NDArray[Any], affine: Any = None) -> Site:
    write_scan(tmp_path / "scans" / "a.nii.gz", voxels, affine)
    return site_of(tmp_path / "project", tmp_path / "scans")


def noise(*shape: int, seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


@pytest.mark.parametrize("affine", [None, TURNED])
def test_the_full_image_is_the_scan_as_it_is(tmp_path: Path, affine: Any) -> None:
    site = site_with(tmp_path, noise(9, 8, 37), affine)
    made = site.volumes.full("a")
    ours, theirs = nib.load(made.path), nib.load(tmp_path / "scans" / "a.nii.gz")
    assert ours.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine)
    assert made.path.stat().st_size == 352 + 2 * 9 * 8 * 37


@pytest.mark.parametrize("value", [0.5, 40_000.0, -1e9])
def test_what_int16_does_not_hold_is_float32(tmp_path: Path, value: float) -> None:
    voxels = noise(9, 8, 37).astype(np.float32)
    voxels[-1, -1, -1] = value
    site = site_with(tmp_path, voxels)
    image = nib.load(site.volumes.full("a").path)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)


def test_a_small_image_has_96_voxels_along_an_axis_at_most() -> None:
    scan = Volume.from_array(noise(40, 210, 100).astype(np.float32), spacing_mm=(3.0, 1.0, 2.0))
    assert steps_of(scan.grid.shape) == (1, 3, 2)
    assert small_volume(scan).voxels.shape == (40, 70, 50)
    assert SMALL == 96


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 5.0), (1e6, 0.0), (1e-3, 1e4)])
def test_a_small_image_reads_as_the_scan_does(tmp_path: Path, scale: float, offset: float) -> None:
    voxels = (noise(20, 100, 30) * scale + offset).astype(np.float32)
    site = site_with(tmp_path, voxels, TURNED)
    made = site.volumes.small("a")
    image = nib.load(made.path)
    assert image.get_data_dtype() == np.int16
    wanted = small_volume(read_volume(tmp_path / "scans" / "a.nii.gz"))
    found = read_volume(made.path)
    assert np.abs(found.voxels - wanted.voxels).max() <= max(0.5, 3000 * scale / 30_000) + 1e-3
    np.testing.assert_allclose(found.grid.affine, wanted.grid.affine, atol=1e-4)
    low, high = made.window.low, made.window.high
    assert np.percentile(voxels, 5) > low or (low, high) == (-150, 260)


def test_a_scan_is_read_once_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_with(tmp_path, noise(9, 8, 7))
    count: list[Any] = []
    real = room.read_stored

    def reading(scan: Any) -> Volume:
        count.append(scan)
        return real(scan)

    monkeypatch.setattr(room, "read_stored", reading)
    first = site.volumes.small("a", also_full=True)
    assert site.volumes.full("a").window == first.window
    assert site.volumes.small("a") == first
    assert len(count) == 1
    assert site.scans.facts()["a"].modality == "ct"
    first.path.with_suffix(".json").write_text("{}")
    assert site.volumes.small("a") == first  # what was told of it is made again
    assert len(count) == 2
    write_scan(tmp_path / "scans" / "a.nii.gz", noise(5, 5, 5))
    assert site.volumes.small("a").path != first.path
    assert len(count) == 3


def test_a_small_image_alone_leaves_no_large_file(tmp_path: Path) -> None:
    site = site_with(tmp_path, noise(9, 8, 7))
    site.volumes.small("a")
    assert not (site.project.cache / "full").exists()


def test_only_the_newest_large_files_stay(tmp_path: Path) -> None:
    for number in range(7):
        write_scan(tmp_path / "scans" / f"{number}.nii.gz", seed=number)
    site = site_of(tmp_path / "project", tmp_path / "scans")
    site.volumes.kept_bytes = 1
    files = []
    for number in range(7):
        files.append(site.volumes.full(str(number)).path)
        os.utime(files[-1], ns=(number, number))
    assert [path.exists() for path in files] == [False] * 3 + [True] * 4
    assert site.volumes.full("0").path.exists()


def test_a_label_map_is_given_on_the_grid_of_the_file(tmp_path: Path) -> None:
    site = site_with(tmp_path, noise(9, 8, 7), TURNED)
    label = a_label(1, 2)
    write_scan(tmp_path / "label.nii.gz", label, TURNED)
    image = nib.load(site.volumes.label("a", tmp_path / "label.nii.gz"))
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), label)
    np.testing.assert_allclose(image.affine, TURNED, atol=1e-5)
    many = label.astype(np.uint16) * 200
    write_scan(tmp_path / "label.nii.gz", many, TURNED)
    image = nib.load(site.volumes.label("a", tmp_path / "label.nii.gz"))
    assert image.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asarray(image.dataobj), many)
    write_scan(tmp_path / "label.nii.gz", label)
    with pytest.raises(DataError, match="a grid of"):
        site.volumes.label("a", tmp_path / "label.nii.gz")


def test_a_series_is_shown_as_any_scan(tmp_path: Path) -> None:
    series(tmp_path / "scans" / "one")
    site = site_of(tmp_path / "project", tmp_path / "scans")
    (name,) = site.scans.cases
    image = nib.load(site.volumes.full(name).path)
    scan = read_volume(site.scans.case(name).scan)
    np.testing.assert_array_equal(
        np.asarray(image.dataobj), scan.source.from_canonical(scan.voxels)
    )


def test_a_scan_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii.gz").write_bytes(b"nothing")
    site = site_of(tmp_path / "project", tmp_path / "scans")
    with pytest.raises(DataError):
        site.volumes.small("a")
    assert not list(site.project.cache.rglob("*.nii"))
