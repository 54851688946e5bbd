import numpy as np
import pytest

from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.volume import Modality

SHAPE = (20, 40, 40)


@pytest.fixture
def patient() -> np.ndarray:
    """Where a patient is: a cylinder along the first axis, a third of the scan."""
    _, h, w = np.indices(SHAPE)
    inside: np.ndarray = (h - 20) ** 2 + (w - 20) ** 2 < 13**2
    return inside


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_body_of_a_ct_is_what_is_denser_than_air_without_lungs(
    patient: np.ndarray, rng: np.random.Generator
) -> None:
    image = np.where(patient, 40.0, -1000.0) + rng.normal(0, 20, SHAPE)
    lung = np.zeros(SHAPE, bool)
    lung[:, 15:20, 15:20] = True
    image[lung] = -850
    np.testing.assert_array_equal(body_mask(image, "ct"), patient & ~lung)


@pytest.mark.parametrize("modality", ["mr", "pet"])
def test_the_body_of_other_scans_is_what_is_brighter_than_their_air(
    patient: np.ndarray, rng: np.random.Generator, modality: Modality
) -> None:
    image = np.where(patient, 300.0, 0.0) + np.abs(rng.normal(0, 10, SHAPE))
    image[:, 18:22, 18:22] = 900  # something bright
    assert (body_mask(image, modality) == patient).mean() > 0.999


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_units_of_an_mr_do_not_matter(
    patient: np.ndarray, rng: np.random.Generator, scale: float
) -> None:
    image = np.where(patient, 300.0, 0.0) + np.abs(rng.normal(0, 10, SHAPE))
    assert (body_mask(image * scale, "mr") == patient).mean() > 0.999


def test_a_scan_cropped_to_tissue_is_all_body(rng: np.random.Generator) -> None:
    assert body_mask(rng.normal(300, 60, SHAPE), "mr").all()


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
def test_a_speck_is_no_body(modality: Modality) -> None:
    image = np.full(SHAPE, -1000.0)
    image[:2, :6, :6] = 40.0
    assert body_mask(image, modality).all()


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), SHAPE])
def test_a_scan_of_one_value_is_all_body(modality: Modality, shape: tuple[int, int, int]) -> None:
    assert body_mask(np.full(shape, -1000.0), modality).all()


def test_holes_are_filled_slice_by_slice() -> None:
    ring = np.zeros((3, 7, 7), bool)
    ring[:2, 1:6, 1:6] = True
    ring[:2, 2:5, 2:5] = False
    filled = fill_axial(ring)
    assert filled[:2, 1:6, 1:6].all()
    assert not filled[2].any()
    ring[1, 3, 5] = False  # this hole opens to the outside of its slice
    assert not fill_axial(ring)[1, 3, 3]
    assert fill_axial(ring)[0, 3, 3]
