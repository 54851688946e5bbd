from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.inspection.outliers import deviations


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.floats(0.01, 10))
def test_distances_are_from_the_median_in_robust_standard_deviations(
    values: list[float], least: float
) -> None:
    middle = np.median(values)
    spread = max(least, 1.4826 * float(np.median([abs(value - middle) for value in values])))
    expected = [(value - middle) / spread for value in values]
    found = deviations(np.array(values), min_spread=least)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_every_column_has_a_spread_of_its_own() -> None:
    table = np.array([[1.0, 100.0], [2.0, 200.0], [3.0, 300.0]])
    found = deviations(table, min_spread=1e-6)
    assert found[:, 0] == pytest.approx(found[:, 1])
