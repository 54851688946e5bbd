import numpy as np
import pytest

from mass3d.transfer.frozen.plain import BINS, SIZES, body_of, histogram, size
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_volume
from mass3d.volume.volume import Volume


def thorax() -> tuple[Volume, Prepared]:
    """A block of tissue with a lung in it, in air: CT of 2 x 1 x 1 mm."""
    voxels = np.full((20, 40, 40), -1000, np.float32)
    voxels[4:16, 10:30, 5:35] = 40
    voxels[6:12, 15:25, 10:20] = -800
    volume = Volume.from_array(voxels, spacing_mm=(2.0, 1.0, 1.0))
    return volume, prepare_volume(volume, PreparationConfig(spacing_mm=1.0, modality="ct"))


def test_the_body_has_the_lungs_and_no_air_around() -> None:
    volume, scan = thorax()
    body = body_of(volume, scan)
    expected = np.zeros((40, 40, 40), bool)
    expected[8:32, 10:30, 5:35] = True
    np.testing.assert_array_equal(body, expected)
    told = dict(zip(SIZES, size(scan, body).tolist(), strict=True))
    assert told.pop("body_ml") == pytest.approx(24 * 20 * 30 / 1000)
    assert told == {"height_mm": 24, "depth_mm": 20, "width_mm": 30}


def test_a_histogram_is_shares_of_the_body() -> None:
    volume, scan = thorax()
    shares = histogram(scan, body_of(volume, scan))
    assert shares.shape == (BINS,)
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-6)
    lung = int((-800 + 991) / 1491 * BINS)
    # a sixth of the body is lung, less what is blurred at its border
    assert 0.6 * (12 * 10 * 10) / (24 * 20 * 30) < shares[lung] < 12 * 10 * 10 / (24 * 20 * 30)


def test_a_scan_without_air_is_all_body() -> None:
    rng = np.random.default_rng(0)
    volume = Volume.from_array(rng.normal(100, 1, (8, 8, 8)).astype(np.float32))
    scan = prepare_volume(volume, PreparationConfig(spacing_mm=1.0, modality="mr"))
    assert body_of(volume, scan).all()


def test_a_body_that_coarse_voxels_lose_leaves_all_of_the_scan() -> None:
    thin = np.full((9, 9, 9), -1000, np.float32)
    thin[0] = 40
    volume = Volume.from_array(thin)
    scan = prepare_volume(volume, PreparationConfig(spacing_mm=4.0, modality="ct"))
    assert body_of(volume, scan).shape == (2, 2, 2)
    assert body_of(volume, scan).all()
