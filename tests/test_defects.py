"""The page of defects names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "reference" / "defects.md"
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Of training and of use; the others are about how masks are made and kept.
NUMBERS = {*range(1, 9), *range(19, 23), 24, 25, *range(26, 39), 42}
NAMED = {
    int(number): re.findall(r"`([^`]+)`", told) for number, _, told in ROW.findall(PAGE.read_text())
}


def test_every_defect_of_training_and_use_has_a_row() -> None:
    assert NAMED.keys() == NUMBERS


@pytest.mark.parametrize("number", sorted(NUMBERS))
def test_a_defect_names_tests_that_are_there(number: int) -> None:
    assert NAMED[number]
    for place in NAMED[number]:
        file, name = place.split("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
