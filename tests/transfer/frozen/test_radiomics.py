"""Shape and intensities of parts whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mass3d.transfer.frozen.radiomics import FIRST_ORDER, SHAPE, first_order, radiomics, shape
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_volume
from mass3d.volume.volume import Volume


def noise() -> Prepared:
    rng = np.random.default_rng(0)
    voxels = rng.gamma(4, 30, (12, 12, 12)).astype(np.float32)
    return prepare_volume(
        Volume.from_array(voxels), PreparationConfig(spacing_mm=1.0, modality="mr")
    )


def test_intensities_have_the_moments_of_scipy() -> None:
    scan = noise()
    part = np.zeros(scan.image.shape, bool)
    part[2:9, 3:10, 1:7] = True
    told = dict(zip(FIRST_ORDER, first_order(scan, part), strict=True))
    values = scan.image[part].astype(float)
    assert told["mean"] == pytest.approx(values.mean())
    assert told["skewness"] == pytest.approx(stats.skew(values))
    assert told["kurtosis"] == pytest.approx(stats.kurtosis(values, fisher=False))
    assert told["p25"] == pytest.approx(np.percentile(values, 25))
    assert 0 < told["entropy"] < 5


def test_one_voxel_has_a_shape_and_no_spread() -> None:
    scan = noise()
    part = np.zeros(scan.image.shape, bool)
    part[5, 5, 5] = True
    told = dict(zip((*FIRST_ORDER, *SHAPE), radiomics(scan, part).tolist(), strict=True))
    assert (told["std"], told["skewness"], told["entropy"]) == (0, 0, 0)
    assert told["volume_ml"] == pytest.approx(0.001)
    assert told["surface_cm2"] == pytest.approx(0.06)
    assert np.isfinite(list(told.values())).all()


def test_a_box_has_the_volume_surface_and_axes_of_a_box() -> None:
    part = np.zeros((12, 20, 30), bool)
    part[1:11, 2:18, :] = True  # 20 x 16 x 15 mm, up to the edge of the scan
    told = dict(zip(SHAPE, shape(part, (2.0, 1.0, 0.5)), strict=True))
    assert told["volume_ml"] == pytest.approx(20 * 16 * 15 / 1000)
    assert told["surface_cm2"] == pytest.approx(2 * (20 * 16 + 16 * 15 + 20 * 15) / 100)
    # an ellipsoid of semi-axis a has variance a^2 / 5, a box of edge e has e^2 / 12
    assert told["major_mm"] == pytest.approx(2 * 20 * np.sqrt(5 / 12))
    assert told["least_mm"] == pytest.approx(2 * 15 * np.sqrt(5 / 12))
    assert told["elongation"] == pytest.approx(16 / 20)
    assert told["flatness"] == pytest.approx(15 / 20)


def test_a_ball_is_rounder_than_a_rod() -> None:
    places = np.stack(np.meshgrid(*[np.arange(-15, 16)] * 3, indexing="ij"))
    ball = (places**2).sum(0) <= 12**2
    rod = np.asarray((np.abs(places[1:]) <= 2).all(0))
    round_, long = (dict(zip(SHAPE, shape(one, (1, 1, 1)), strict=True)) for one in (ball, rod))
    assert round_["major_mm"] == pytest.approx(24, abs=1)
    assert round_["sphericity"] == pytest.approx(2 / 3, abs=0.03)  # of voxels: their faces
    assert long["sphericity"] < 0.63
    assert long["flatness"] < 0.2 < 0.97 * round_["flatness"]
