from __future__ import annotations

import math
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from mass3d.pages.html import decimals, significant, write_page


def test_a_page_lacking_something_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "report.html", "report.html")
    assert not list(tmp_path.iterdir())


def test_a_number_that_is_unknown_is_a_dash() -> None:
    assert decimals(0.125, 1) == "0.1"
    assert decimals(math.nan) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.93752, "0.9375"), (12.5, "12.5"), (512, "512"), (1561665, "1561665"), (-3e-7, "-3e-07")],
)
def test_numbers_are_written_with_the_digits_that_count(value: float, text: str) -> None:
    assert significant(value) == text
