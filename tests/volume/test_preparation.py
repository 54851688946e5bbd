import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mass3d.errors import DataError
from mass3d.volume.body import body_mask
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.preparation import (
    PreparationConfig,
    prepare_channels,
    prepare_label,
    prepare_volume,
)
from mass3d.volume.volume import Volume
from oracles import geometry

SHAPE = (12, 14, 16)


def config(**changes: Any) -> PreparationConfig:
    return PreparationConfig.model_validate({"spacing_mm": 1.5} | changes)


def scan(image: np.ndarray, name: str = "scan.nii", edge_mm: float = 1.0) -> Volume:
    return Volume.from_array(
        image.astype(np.float32), spacing_mm=(2 * edge_mm, edge_mm, edge_mm), path=Path(name)
    )


@pytest.fixture
def tissue() -> np.ndarray:
    """A box of tissue in air, HU."""
    image = np.full(SHAPE, -1000.0)
    image[3:9, 4:10, 4:12] = np.random.default_rng(0).normal(40, 25, (6, 6, 8))
    return image


def test_a_prepared_scan_has_cubic_voxels_over_the_same_box(tissue: np.ndarray) -> None:
    scanned = scan(tissue)
    prepared = prepare_volume(scanned, config())
    assert prepared.image.shape == prepared.grid.shape == (16, 9, 11)
    assert prepared.image.dtype == np.float32
    assert prepared.grid == scanned.grid.resampled((1.5, 1.5, 1.5))
    assert prepared.source == scanned.source


def test_a_label_is_prepared_onto_the_grid_of_its_scan(tissue: np.ndarray) -> None:
    affine = geometry.affine(np.eye(3)[[2, 0, 1]], tilt_deg=(8.0, -5.0, 11.0))
    source = SourceGrid.nearest(SHAPE, affine)
    image = source.to_canonical(tissue)
    prepared = prepare_volume(Volume(image, source.grid, source), config(modality="ct"))
    organ = (image > -500).astype(np.uint16)
    label = prepare_label(Volume(organ, source.grid, source), prepared.grid)
    assert label.shape == prepared.image.shape
    assert label.dtype == np.uint16
    bright = prepared.image > (-500 + 100) / 300
    assert 2 * (bright & (label > 0)).sum() / (bright.sum() + label.sum()) > 0.9


def test_the_same_ct_tissue_gets_the_same_value_whatever_else_is_in_the_scan(
    tissue: np.ndarray,
) -> None:
    whole = prepare_volume(scan(tissue), config(spacing_mm=1.0, modality="ct"))
    part = prepare_volume(scan(tissue[4:8, 5:9, 5:11]), config(spacing_mm=1.0, modality="ct"))
    assert whole.intensity == part.intensity
    np.testing.assert_allclose(whole.image[11:13, 7, 7], part.image[3:5, 2, 2], rtol=1e-5)


def test_ct_is_normalised_with_fixed_numbers(tissue: np.ndarray) -> None:
    tissue[4, 5, 5] = 3000
    prepared = prepare_volume(scan(tissue, edge_mm=1.5), config(modality="ct", spacing_mm=1.5))
    assert prepared.intensity.plain() == {"low": -991, "high": 500, "mean": -100, "std": 300}
    assert prepared.image.min() == pytest.approx((-991 + 100) / 300)
    assert prepared.image.max() <= (500 + 100) / 300
    assert prepared.intensity.outside == pytest.approx(prepared.image.min())


@pytest.mark.parametrize("modality", ["mr", "pet"])
def test_other_scans_have_a_body_of_mean_zero_and_deviation_one(
    tissue: np.ndarray, modality: str
) -> None:
    for units in (1.0, 1000.0):
        image = (tissue + 1000) * units
        volume = Volume.from_array(image.astype(np.float32))  # cubes already
        prepared = prepare_volume(volume, config(modality=modality, spacing_mm=1.0))
        assert prepared.modality == modality
        body = prepared.image[body_mask(image, prepared.modality)]
        assert body.mean() == pytest.approx(0, abs=1e-3)
        assert body.std() == pytest.approx(1, abs=1e-3)


def test_percentiles_bound_what_is_kept_of_an_mr(tissue: np.ndarray) -> None:
    body = tissue[3:9, 4:10, 4:12]
    volume = Volume.from_array(body.astype(np.float32))
    prepared = prepare_volume(
        volume, config(modality="mr", spacing_mm=1.0, percentiles=(10.0, 60.0))
    )
    low, high = np.percentile(body, (10, 60))
    assert prepared.intensity.low == pytest.approx(low, rel=1e-5)
    assert prepared.intensity.high == pytest.approx(high, rel=1e-5)


def test_an_argument_goes_before_the_setting_and_the_setting_before_the_name(
    tissue: np.ndarray,
) -> None:
    named = scan(tissue, "case_ct.nii")
    told = [
        prepare_volume(named, config()),
        prepare_volume(named, config(modality="pet")),
        prepare_volume(named, config(modality="pet"), modality="mr"),
        prepare_volume(scan(tissue, "case.nii"), config()),
    ]
    assert [(p.modality, p.modality_from) for p in told] == [
        ("ct", "name"),
        ("pet", "setting"),
        ("mr", "setting"),
        ("ct", "histogram"),
    ]


def test_repairs_of_the_reader_are_handed_on(tissue: np.ndarray) -> None:
    read = scan(tissue)
    repaired = Volume(read.voxels, read.grid, read.source, read.path, ("replaced 3 voxels",))
    assert prepare_volume(repaired, config()).repairs == ("replaced 3 voxels",)


@pytest.mark.parametrize(
    ("modality", "values"),
    [("mr", (7.0, 7.0)), ("pet", (0.0, 0.0)), ("ct", (600.0, 2000.0)), ("ct", (-3000.0, -1000.0))],
)
def test_a_body_of_one_intensity_is_refused(modality: str, values: tuple[float, float]) -> None:
    image = np.random.default_rng(0).uniform(*values, SHAPE)
    with pytest.raises(DataError) as caught:
        prepare_volume(scan(image, "flat.nii"), config(modality=modality))
    assert caught.value.where == "flat.nii"
    assert "one intensity throughout the body" in caught.value.found
    assert caught.value.expected == f"an image of modality {modality}"
    assert caught.value.fix.startswith("Check the file")
    assert ("say modality mr" in caught.value.fix) == (modality != "mr")


@pytest.mark.parametrize("spacing_mm", [1e-2, 1e-3])
def test_a_spacing_that_makes_an_absurd_grid_is_refused(
    tissue: np.ndarray, spacing_mm: float
) -> None:
    with pytest.raises(DataError) as caught:
        prepare_volume(scan(tissue, "a.nii"), config(spacing_mm=spacing_mm))
    assert caught.value.where == "a.nii"
    assert f"voxels at {spacing_mm:g} mm" in caught.value.found
    assert "at most 2e+09 voxels" in caught.value.expected
    assert "coarser spacing_mm" in caught.value.fix


@pytest.mark.parametrize(
    "changes",
    [
        {"spacing_mm": 0},
        {"spacing_mm": float("inf")},
        {"spacing_mm": float("nan")},
        {"ct_clip_hu": (500, -991)},
        {"ct_clip_hu": (100, 100)},
        {"ct_mean_std_hu": (0, 0)},
        {"percentiles": (98, 2)},
        {"percentiles": (-1, 50)},
        {"percentiles": (2, 101)},
        {"modality": "xray"},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, 1e-9, 1e4, 1e308, math.inf, math.nan])
def test_a_spacing_that_no_scan_has_is_refused(spacing_mm: float) -> None:
    with pytest.raises(ValidationError, match="spacing_mm"):
        config(spacing_mm=spacing_mm)


def test_in_a_box_every_scan_is_measured_as_mass_did() -> None:
    image = np.full((60, 60, 60), -1000.0)
    image[20:30, 22:34, 24:40] = np.random.default_rng(0).normal(40, 25, (10, 12, 16))
    image[55:57, 55:57, 55:57] = 900.0  # a table
    volume = Volume.from_array(image.astype(np.float32), spacing_mm=(5.0, 5.0, 5.0))
    usual = {"spacing_mm": 5.0, "statistics": "box"}
    prepared = prepare_volume(volume, config(**usual, modality="ct"))
    cut = np.clip(image[16:34, 18:38, 20:44], -991, 500)  # 20 mm are four voxels
    wanted = (np.clip(image, -991, 500) - cut.mean()) / cut.std()
    np.testing.assert_allclose(prepared.image, wanted, atol=1e-4)

    image = np.random.default_rng(1).gamma(2.0, 100.0, (20, 20, 20))
    image[:8] = 0  # air, which counts as well
    volume = Volume.from_array(image.astype(np.float32), spacing_mm=(5.0, 5.0, 5.0))
    prepared = prepare_volume(volume, config(**usual, modality="mr"))
    cut = np.clip(image, *np.percentile(image, (2, 98)))
    np.testing.assert_allclose(prepared.image, (cut - cut.mean()) / cut.std(), atol=1e-4)


def test_a_ct_of_air_alone_is_measured_whole() -> None:
    image = np.random.default_rng(0).normal(-800, 25, SHAPE)
    volume = Volume.from_array(image.astype(np.float32), spacing_mm=(5.0, 5.0, 5.0))
    prepared = prepare_volume(volume, config(spacing_mm=5.0, statistics="box", modality="ct"))
    assert abs(float(prepared.image.mean())) < 1e-3
    assert abs(float(prepared.image.std()) - 1) < 1e-3


def test_usual_statistics_are_not_told_as_older_records_do_not() -> None:
    assert "statistics" not in config().plain()
    assert config(statistics="box").plain()["statistics"] == "box"
    assert PreparationConfig.model_validate(config().plain()) == config()


def smooth(shape: tuple[int, int, int], affine: np.ndarray, name: str) -> Volume:
    """A scan (i, j, k) of a field that is known at every place in the world: x + 2 y - z."""
    places = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ places + affine[:3, 3:]
    values = (np.array([1.0, 2.0, -1.0]) @ world).reshape(shape).astype(np.float32)
    return Volume.from_file_order(values, affine, path=Path(name))


def test_channels_of_one_grid_are_prepared_each_by_itself(tissue: np.ndarray) -> None:
    ct, pet = scan(tissue, "a.nii"), replace(scan(tissue**2, "b.nii"), modality="pet")
    found = prepare_channels([ct, pet], config(modality="ct"))
    apart = [
        prepare_volume(ct, config(modality="ct")),
        prepare_volume(pet, config(modality="pet")),  # its own word goes before the setting
    ]
    for one, other in zip(found, apart, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.intensity == other.intensity
        assert one.modality == other.modality
    (alone,) = prepare_channels([ct], config())
    assert alone.image.tobytes() == prepare_volume(ct, config()).image.tobytes()


def test_a_channel_on_another_grid_comes_to_that_of_the_first() -> None:
    turned = geometry.affine(np.eye(3), spacing_mm=(2.0, 1.7, 2.4), tilt_deg=(4.0, -3.0, 6.0))
    turned[:3, 3] = (-6, -5, -7)
    straight = np.diag([1.5, 1.5, 1.5, 1.0])
    first, second = smooth((14, 13, 12), straight, "one"), smooth((24, 24, 24), turned, "two")
    settings = config(modality="mr", percentiles=(0, 100))
    one, other = prepare_channels([first, second], settings)
    assert other.grid == one.grid == prepare_volume(first, settings).grid
    assert other.image.shape == one.image.shape
    inner = (slice(2, -2),) * 3
    undone = [prepared.intensity.undo(prepared.image)[inner] for prepared in (one, other)]
    np.testing.assert_allclose(undone[1], undone[0], atol=0.05)


def test_where_another_channel_does_not_reach_it_is_dark() -> None:
    matrix = np.diag([1.5, 1.5, 1.5, 1.0])
    first = smooth((12, 12, 12), matrix, "one")
    lower = smooth((12, 12, 7), matrix, "two")  # k is from foot to head
    _, other = prepare_channels([first, lower], config(modality="mr"))
    assert (other.image[7:] == np.float32(other.intensity.outside)).all()
    assert other.image[:7].std() > 0
    away = matrix.copy()
    away[2, 3] = 12 * 1.5 + 1
    with pytest.raises(DataError, match="two: found no voxel within the box of one"):
        prepare_channels([first, smooth((12, 12, 12), away, "two")], config(modality="mr"))
