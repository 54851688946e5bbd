"""Scans beside a page: bounded, true to a grey level, and gone with the page that named them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pages
from mass3d.pages import volumes
from mass3d.pages.volumes import (
    BUILT,
    FOLDER,
    LEVELS,
    PROGRAM,
    Layer,
    Slices,
    Structure,
    address_of,
    settle,
    steps_within,
    volume_script,
    write_scripts,
)
from mass3d.volume.volume import Volume

NAME = 'a </script><b>&"\u2028'
COLOUR = (1, 2, 255)


def scan_of(*shape: int, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    values = np.random.default_rng(0).normal(0, 300, shape).astype(np.float32)
    return Volume.from_array(values, spacing_mm=spacing_mm)


@pytest.mark.parametrize("shape", [(300, 512, 512), (2, 4000, 3000), (7, 9, 8), (1, 1, 9_000_000)])
def test_a_scan_has_few_voxels_that_are_about_cubes(shape: tuple[int, int, int]) -> None:
    spacing = (1.5, 0.8, 0.8)
    steps = steps_within(shape, spacing)
    assert np.prod(np.array(shape) // steps) <= volumes.MAX_VOXELS
    if np.prod(shape) <= volumes.MAX_VOXELS:
        assert steps == (1, 1, 1)
    if min(shape) > 300:
        edges = np.array(steps) * spacing
        assert edges.max() < 2 * edges.min()


def test_the_script_holds_the_scan_to_half_a_level_and_the_labels_as_they_are() -> None:
    scan = scan_of(6, 5, 4, spacing_mm=(3.0, 2.0, 1.0))
    slices = Slices.of(scan, "mr")
    labels = np.random.default_rng(1).integers(0, 300, (6, 5, 4))
    layer = Layer("Found", labels, [Structure(NAME, 299, COLOUR)])
    script = volume_script("viewer/k.js", NAME, slices, [layer])
    told = pages.told(script)
    assert (told["key"], told["name"], told["modality"]) == ("k", NAME, "MR")
    assert told["window"][0] < told["window"][1]
    image = pages.unpacked(told["scan"])
    assert image.get_data_dtype() == np.uint8
    low, high = np.percentile(scan.voxels, volumes.SHOWN)
    wanted = np.clip(scan.voxels, low, high)
    found = image.get_fdata().transpose(2, 1, 0)
    assert np.abs(found - wanted).max() <= 0.51 * (high - low) / LEVELS
    (told_layer,) = told["layers"]
    assert told_layer["structures"] == [{"name": NAME, "value": 299, "colour": "#0102ff"}]
    map_ = pages.unpacked(told_layer["labels"])
    np.testing.assert_array_equal(np.asarray(map_.dataobj).transpose(2, 1, 0), labels)
    for one in (image, map_):
        np.testing.assert_allclose(one.affine, np.array(scan.source.affine))
    assert script == volume_script("viewer/k.js", NAME, slices, [layer])


def test_a_grid_without_a_scan_is_black() -> None:
    slices = Slices.black(scan_of(4, 5, 6))
    told = pages.told(volume_script("viewer/k.js", "a", slices, []))
    assert told["modality"] is None
    assert not pages.unpacked(told["scan"]).get_fdata().any()


def test_another_state_of_a_case_has_another_address() -> None:
    addresses = {address_of("a"), address_of("b"), address_of("a", "1"), address_of("../a b#é")}
    assert len(addresses) == 4
    for address in addresses:
        folder, name = address.split("/")
        assert folder == FOLDER
        assert name.removesuffix(".js").isalnum()


def test_what_the_page_does_not_name_goes_and_with_the_last_the_viewer(tmp_path: Path) -> None:
    scripts = {"a": b"1", "b": b"2", "fault": object()}
    written = write_scripts(tmp_path, scripts)
    assert written == {"a": address_of("a"), "b": address_of("b")}
    assert (tmp_path / written["b"]).read_bytes() == b"2"
    for name in PROGRAM:
        assert (tmp_path / FOLDER / name).read_bytes() == (BUILT / name).read_bytes()
    settle(tmp_path, [written["b"]])
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {
        Path(written["b"]).name,
        *PROGRAM,
    }
    settle(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
    settle(tmp_path, [])
