from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.volume.intensity import Intensity, guess_modality

AIR, TISSUE = np.full((10, 10, 10), -1000.0), np.full((10, 10, 10), 40.0)


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("case_ct.nii.gz", "ct"),
        ("case-CT-2.nii.gz", "ct"),
        ("sub-01_T1w.nii.gz", "mr"),
        ("flair.nii", "mr"),
        ("patient.PET.mha", "pet"),
        ("PET/case_01.nii.gz", "pet"),
        ("cohort_ct/imagesTr/case_01.nii.gz", "ct"),
        ("mr/ct_01.nii.gz", "ct"),  # the file's own name comes first
        ("mr/pet_and_ct.nii.gz", "mr"),  # two words are no word
    ],
)
def test_a_whole_word_of_the_name_tells_the_modality(path: str, modality: str) -> None:
    assert guess_modality(TISSUE, Path(path)) == (modality, "name")


def test_a_folder_names_the_modality_from_within_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PET").mkdir()
    (tmp_path / "PET" / "scan.nii.gz").touch()
    monkeypatch.chdir(tmp_path / "PET")
    assert guess_modality(TISSUE, Path("scan.nii.gz")) == ("pet", "name")


@pytest.mark.parametrize(
    "path", [None, "sector.nii", "actual/predict.nii", "ct/a/b/scan.nii", "ct001.nii"]
)
def test_without_such_a_word_the_darkest_voxels_tell(path: str | None) -> None:
    named = Path(path) if path else None
    assert guess_modality(AIR, named) == ("ct", "histogram")
    assert guess_modality(TISSUE, named) == ("mr", "histogram")


def test_a_few_dark_voxels_make_no_ct() -> None:
    image = TISSUE.copy()
    image[0, 0, 0] = -1024
    assert guess_modality(image, None) == ("mr", "histogram")


def test_a_ct_with_little_air_is_one() -> None:
    image = TISSUE.copy()
    image[:1] = -1000
    assert guess_modality(image, None) == ("ct", "histogram")


def test_small_scans_are_looked_at_whole() -> None:
    image = np.zeros((2, 3, 3))
    image[1] = -1000  # every second slice would miss it
    assert guess_modality(image, None) == ("ct", "histogram")


@given(
    low=st.floats(-2000, 0),
    width=st.floats(1, 3000),
    mean=st.floats(-500, 500),
    std=st.floats(0.5, 500),
)
def test_normalised_values_are_clipped_shifted_and_scaled(
    low: float, width: float, mean: float, std: float
) -> None:
    intensity = Intensity(low=low, high=low + width, mean=mean, std=std)
    raw = np.linspace(low - width, low + 2 * width, 50)
    expected = [(min(max(value, low), low + width) - mean) / std for value in raw]
    found = intensity.apply(raw)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
    assert found.min() == pytest.approx(intensity.outside, rel=1e-4, abs=1e-2)


def test_normalising_leaves_the_scan_as_it_was() -> None:
    raw = np.array([0.0, 5.0, 10.0], np.float32)
    Intensity(low=1, high=9, mean=5, std=2).apply(raw)
    assert raw.tolist() == [0, 5, 10]


def test_intensities_survive_as_plain_numbers() -> None:
    intensity = Intensity(low=1.0, high=9.0, mean=5.0, std=2.0)
    assert Intensity(**intensity.plain()) == intensity
