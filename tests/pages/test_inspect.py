from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pages
from made_facts import facts, inspection, label
from mass3d.execution.faults import Fault
from mass3d.inspection.case import Inspection
from mass3d.inspection.cohort import modality_facts, structure_facts
from mass3d.inspection.warnings import CaseWarning
from mass3d.io.left_out import LeftOut
from mass3d.pages import inspect as inspect_page
from mass3d.pages.inspect import curve, write_inspect_page

PICTURE = "data:image/jpeg;base64,AAAA"


def page(folder: Path, cases: dict[str, Inspection], **changes: Any) -> str:
    found = {name: one.facts for name, one in cases.items()}
    content: dict[str, Any] = {
        "summary": "Read some scans.",
        "faults": (),
        "warnings": (),
        "pictures": dict.fromkeys(cases, PICTURE),
        "modalities": modality_facts(found),
        "structures": structure_facts(found),
        "left_out": (),
    }
    write_inspect_page(folder / "inspect.html", cases, **(content | changes))
    return (folder / "inspect.html").read_text()


@pytest.fixture
def cases() -> dict[str, Inspection]:
    return {
        "a": inspection(facts(label=label(liver=1500.0, cyst=0.0))),
        "<b>": inspection(facts("mr", repairs=("took the sform",))),
        "c": inspection(facts("pet")),
    }


def test_faults_come_first_then_warnings_and_both_lead_to_the_case(
    tmp_path: Path, cases: dict[str, Inspection]
) -> None:
    text = page(
        tmp_path,
        cases,
        faults=(Fault("c", "its label lies elsewhere"), Fault("gone", "cannot be read")),
        warnings=(CaseWarning("an odd size", {"<b>": "5 mm", "a": ""}),),
        left_out=(LeftOut(Path("notes.txt"), "no image", 3),),
    )
    pages.require_whole(text)
    order = [text.index(words) for words in ("its label lies", "an odd size", "<h2>The cohort")]
    assert order == sorted(order)
    assert '<a href="#case-3">c</a>' in text
    assert 'id="case-3"' in text
    assert '<b class="bad">gone</b>' in text  # has no row to lead to
    assert "an odd size (5 mm)" in text
    assert "notes.txt" in text
    assert "and 2 more" in text
    assert "3 scans,\n    2 faults." in text


def test_names_from_files_cannot_break_the_page(
    tmp_path: Path, cases: dict[str, Inspection]
) -> None:
    text = page(tmp_path, cases)
    assert "<b>:" not in text
    assert "&lt;b&gt;" in text


def test_the_table_says_what_was_found(tmp_path: Path, cases: dict[str, Inspection]) -> None:
    text = page(tmp_path, cases)
    for words in (
        "40 × 50 × 60",
        "3 × 2 × 2",
        "liver&nbsp;1500",
        "repaired: took the sform",
        "-1000",
    ):
        assert words in text
    assert "1 of 1" in text  # labels that hold the liver
    assert "0 of 1" in text
    assert text.count(PICTURE) == 3


def test_a_page_about_nothing_that_can_be_read_is_still_whole(tmp_path: Path) -> None:
    text = page(tmp_path, {}, faults=(Fault("a", "cannot be read"),))
    pages.require_whole(text)
    assert "No scan could be read." in text


def test_of_many_cases_those_with_faults_are_pictured_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_page, "MAX_PICTURES", 2)
    many = {name: inspection(facts()) for name in "ABCDE"}
    drawn = {name: f"data:image/jpeg;base64,{name}" for name in many}
    text = page(tmp_path, many, pictures=drawn, faults=(Fault("D", "broken"),))
    assert [name for name in "ABCDE" if f"base64,{name}" in text] == ["A", "D"]
    assert "Pictures of 2 of them" in text


def test_a_curve_stands_on_the_floor_and_its_end_bins_are_cut_off() -> None:
    text = curve((100, 0, 1, 4), width=40, height=10)
    points = [tuple(map(float, point.split(","))) for point in text.split()]
    assert points[0] == (0, 10)
    assert points[-1] == (40, 10)
    assert points[1:3] == [(0, 0), (10, 0)]  # no higher than the highest between the ends
    assert points[3:-1] == [(10, 10), (20, 10), (20, 0), (30, 0), (30, 0), (40, 0)]
