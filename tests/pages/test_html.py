from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from mass3d.pages.html import decimals, render, significant, write_page


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


@pytest.mark.parametrize("viewer", [0, 3])
def test_no_script_runs_but_those_of_the_page(viewer: int) -> None:
    content = {"summary": "", "faults": (), "rows": (), "legend": (), "open_structures": 1}
    counts = dict.fromkeys(("cases", "doubted", "alone", "odd"), 0)
    told = {"agreed": False, "expecting": False}
    page = render("segment.html", viewer=viewer, **told, **content, **counts)
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert len(policy) == 1
    rules = dict(rule.split(" ", 1) for rule in policy[0].replace("&#39;", "'").split("; "))
    (inline,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    beside = ["'self'", "file:"] if viewer else []
    assert rules["script-src"].split() == [f"'sha256-{digest}'", *beside]
    assert rules["default-src"] == "'none'"
    assert ('src="viewer/viewer.js"' in page) == bool(viewer)
