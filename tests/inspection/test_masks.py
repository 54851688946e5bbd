from __future__ import annotations

import numpy as np
import pytest

from mass3d.inspection.masks import Deviation, outliers
from mass3d.masks.quality import Quality


def figures(**changes: object) -> Quality:
    usual = {"num_masks": 100, "num_layers": 2, "coverage": 0.9, "depth": 3, "overlap": 2.0}
    return Quality(**{**usual, "voxels": (20, 200, 9000), "sizes": (), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "figure", "value"),
    [
        ({"num_masks": 40}, "num_masks", 40),
        ({"num_masks": 0}, "num_masks", 0),
        ({"coverage": 0.5}, "coverage", 0.5),
        ({"voxels": (20, 900, 9000)}, "median", 900),
        ({"voxels": (20, 60, 9000)}, "median", 60),
        ({"voxels": (20, 200, 90000)}, "largest", 90000),
    ],
)
def test_a_case_that_is_unlike_the_others_of_its_kind_stands_out(
    changes: dict[str, object], figure: str, value: float
) -> None:
    cases = {f"c{n}": figures(num_masks=100 + n, coverage=0.9 + n / 500) for n in range(6)}
    cases["odd"] = figures(**changes)
    found = outliers(cases, dict.fromkeys(cases, "ct"))
    assert list(found) == ["odd"]
    assert [(one.figure, one.value) for one in found["odd"]] == [(figure, value)]
    assert found["odd"][0].far > 3.5


def test_many_masks_good_coverage_and_small_differences_do_not_stand_out() -> None:
    cases = {f"c{n}": figures() for n in range(9)}
    cases |= {"many": figures(num_masks=900), "full": figures(coverage=1.0)}
    cases["near"] = figures(num_masks=75, coverage=0.84, voxels=(20, 240, 9900))
    assert outliers(cases, dict.fromkeys(cases, "ct")) == {}


def test_the_distance_is_in_robust_standard_deviations_and_the_farthest_is_first() -> None:
    counts = [80, 90, 100, 110, 120, 30, 10]
    cases = {str(count): figures(num_masks=count) for count in counts}
    found = outliers(cases, dict.fromkeys(cases, "ct"))
    assert list(found) == ["10", "30"]
    logs = np.log(counts)
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    far = (np.median(logs) - np.log(10)) / spread
    (deviation,) = found["10"]
    assert deviation == Deviation("num_masks", 10.0, 90.0, deviation.far)
    assert deviation.far == pytest.approx(far)


def test_cases_are_compared_with_their_kind_and_few_with_none() -> None:
    cases = {f"ct{n}": figures() for n in range(5)} | {"pet": figures(num_masks=9)}
    kinds = {name: name[:2] for name in cases}
    assert outliers(cases, kinds) == {}
    assert list(outliers(cases, dict.fromkeys(cases, "all"))) == ["pet"]
