"""Regions of several label values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mass3d.apps.evaluate import EvaluateConfig
from mass3d.config import build
from mass3d.errors import ConfigError
from mass3d.io.colours import PALETTE
from mass3d.io.datasets.regions import Targets, targets_of


def test_structures_without_regions_are_as_they_were() -> None:
    found = targets_of({"spleen": 3, "liver": 1})
    assert found == Targets({"spleen": 3, "liver": 1})
    assert found.classes == ((3,), (1,))
    np.testing.assert_array_equal(found.table, np.eye(2, dtype=bool))
    assert found.plain() == {"spleen": 3, "liver": 1}
    assert [(one.name, one.value) for one in found.header] == [("spleen", 3), ("liver", 1)]
    assert found.by_value == {}


def test_a_chosen_colour_takes_the_place_of_that_of_the_value() -> None:
    found = Targets({"spleen": 3, "liver": 1}, chosen={"liver": (221, 130, 101)})
    assert found.colours == {3: PALETTE[2], 1: (221, 130, 101)}
    assert [one.colour for one in found.header] == [PALETTE[2], (221, 130, 101)]


def test_a_region_is_written_with_a_value_of_its_own_and_larger_ones_first() -> None:
    found = targets_of({"core": (2, 3), "lung": 9, "enhancing": 3, "whole": (4, 1, 2, 3)})
    assert list(found.values.items()) == [("whole", 1), ("core", 2), ("lung", 9), ("enhancing", 3)]
    assert found.classes == ((1, 4), (2,), (3,), (9,))
    for name, row in zip(found.values, found.table, strict=True):
        values = {v for part, here in zip(found.classes, row, strict=True) if here for v in part}
        assert values == set(found.members[name])
    assert {one.name: one.value for one in found.header} == {
        "whole, the rest": 1,
        "core, the rest": 2,
        "lung": 9,
        "enhancing": 3,
    }
    again = targets_of({name: tuple(some) for name, some in found.regions.items()})
    assert again == found


@pytest.mark.parametrize(
    ("structures", "told"),
    [
        ({"a": (1, 2), "b": (2, 3)}, "a and b overlap"),
        ({"a": (1, 2), "b": (2, 1)}, "a and b overlap"),
        ({"a": (1, 2), "b": 1, "c": 2}, "all of a is in regions within it"),
    ],
)
def test_regions_that_one_label_map_cannot_show_are_refused(
    structures: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        targets_of(structures)


def test_the_setting_takes_values_and_lists_of_them() -> None:
    def read(structures: Any) -> Any:
        values = {"predictions": "a", "labels": "b", "output": "c", "structures": structures}
        return build(EvaluateConfig, values).structures

    assert read({"a": [1, 2], "b": [2], "c": 7}) == {"a": (1, 2), "b": 2, "c": 7}
    wrongs: list[Any] = [{"a": []}, {"a": [0, 1]}, {"a": 0}, {"a": [1], "b": 1}, {}, {"a": "x"}]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="structures"):
            read(wrong)
