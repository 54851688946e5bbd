"""What is far outside of the labelled scans, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mass3d.volume.ranges import Measures, Ranges
from mass3d.volume.volume import Modality, Volume

CT = Measures("ct", 2.0, (300.0, 250.0, 400.0), 40.0)
OTHER = Measures("ct", 5.0, (450.0, 250.0, 400.0), 60.0)
PET = Measures("pet", 4.0, (900.0, 500.0, 500.0), 12.0)


def volume(voxels: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume.from_array(voxels.astype(np.float32), spacing_mm=spacing_mm)


def test_a_scan_is_measured_in_mm() -> None:
    found = Measures.of(volume(np.zeros((10, 20, 30)), (5.0, 2.0, 1.0)), "mr")
    assert found == Measures("mr", 5.0, (50.0, 40.0, 30.0), None)


def test_the_level_is_that_of_the_body_in_ct_and_of_the_brightest_in_pet() -> None:
    image = np.full((20, 20, 20), -1000.0)
    image[5:12, 5:12, 5:12] = 35.0
    assert Measures.of(volume(image), "ct").level == 35.0
    assert Measures.of(volume(np.full((9, 9, 9), -1000.0)), "ct").level is None
    activity = np.linspace(0, 10, 10**4).reshape(10, 10, 100)
    assert Measures.of(volume(activity), "pet").level == pytest.approx(9.99, abs=0.01)


@pytest.mark.parametrize(
    "usual",
    [
        CT,
        OTHER,
        replace(CT, edge_mm=15.0),  # three times the longest
        replace(CT, edge_mm=0.2),  # finer is no harm
        replace(CT, extent_mm=(1350.0, 84.0, 1200.0)),
        replace(CT, level=-160.0),
        replace(CT, level=None),
    ],
)
def test_what_is_near_the_labelled_scans_is_not_told(usual: Measures) -> None:
    assert Ranges.of([CT, OTHER]).doubts(usual) == []


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (replace(CT, modality="mr"), "it looks like MR, and the task was made on CT"),
        (
            replace(CT, edge_mm=15.5),
            "its voxels are up to 15.5 mm long, and the task was made on voxels of at most 5 mm",
        ),
        (
            replace(CT, extent_mm=(1400.0, 250.0, 400.0)),
            "it is 1400 mm from foot to head, and the task was made on 300 to 450 mm",
        ),
        (
            replace(CT, extent_mm=(300.0, 80.0, 400.0)),
            "it is 80 mm from front to back, and the task was made on 250 mm",
        ),
        (
            replace(CT, extent_mm=(300.0, 250.0, 40.0)),
            "it is 40 mm from left to right, and the task was made on 400 mm",
        ),
        (
            replace(CT, level=1100.0),
            "half of its body is above 1100 HU, and the task was made on 40 to 60 HU",
        ),
        (
            replace(CT, level=-170.0),
            "half of its body is above -170 HU, and the task was made on 40 to 60 HU",
        ),
    ],
)
def test_what_is_far_outside_is_told_with_both_numbers(odd: Measures, told: str) -> None:
    assert Ranges.of([CT, OTHER]).doubts(odd) == [told]


@pytest.mark.parametrize(
    ("level", "far"), [(200.0, False), (1.0, False), (9000.0, True), (0.2, True)]
)
def test_pet_is_compared_by_its_brightest_voxels(level: float, *, far: bool) -> None:
    assert bool(Ranges.of([PET]).doubts(replace(PET, level=level))) is far


def test_a_model_is_called_a_model() -> None:
    told = Ranges.of([CT]).doubts(replace(CT, modality="pet"), made="model")
    assert told == ["it looks like PET, and the model was made on CT"]


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_several_modalities_are_all_known_and_their_levels_are_not_mixed(
    modality: Modality,
) -> None:
    ranges = Ranges.of([CT, replace(CT, modality="mr", level=None)])
    assert ranges.modalities == ("ct", "mr")
    assert ranges.doubts(replace(CT, modality=modality, level=2000.0)) == []


def test_volumes_are_odd_beyond_three_times_or_below_a_third_of_all_that_are_labelled() -> None:
    labelled = [{"liver": 1200.0, "cyst": 0.0}, {"liver": 1800.0, "cyst": 3.0}]
    ranges = Ranges.of([CT, OTHER], labelled)
    assert ranges.volumes_ml == {"liver": (1200.0, 1800.0), "cyst": (3.0, 3.0)}
    assert ranges.odd_volumes({"liver": 5400.0, "cyst": 1.0, "spleen": 9.0}) == ()
    assert ranges.odd_volumes({"liver": 5401.0, "cyst": 0.99}) == ("liver", "cyst")
    assert ranges.odd_volumes({"liver": 0.0, "cyst": 9.1}) == ("liver", "cyst")


def test_ranges_come_back_from_a_file_as_they_were() -> None:
    ranges = Ranges.of([CT, PET], [{"liver": 1.0}])
    assert Ranges.model_validate(ranges.plain()) == ranges
