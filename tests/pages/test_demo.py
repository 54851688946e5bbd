from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pages
from mass3d.io.colours import value_colours
from mass3d.pages import demo_content as findings
from mass3d.pages.demo import (
    Method,
    ReportContent,
    ShownCase,
    curve_line,
    overview_rows,
    page_context,
    render_overview,
    weaknesses,
    write_report,
)
from mass3d.pages.html import render
from mass3d.pages.pictures import Picture, draw
from mass3d.pages.viewed import write_labels
from mass3d.volume.volume import Volume

PRETRAINED = {"a": {"liver": 0.9, "<cyst>": 0.4}, "b": {"liver": 0.8}, "c": {"liver": 0.3}}
UNTRAINED = {"a": {"liver": 0.1, "<cyst>": 0.3}, "b": {"liver": 0.2}, "c": {"liver": 0.1}}
FLOOR = {"a": {"liver": 0.5, "<cyst>": 0.5}, "b": {"liver": 0.4}, "c": {"liver": 0.3}}
METHODS = (
    Method("ours", "As it is."),
    Method("affine registration", "The floor."),
    Method("untrained", "First weights."),
)


@pytest.fixture
def content() -> ReportContent:
    colours = value_colours([1, 2])
    overall, structures = findings.structure_scores(
        [PRETRAINED, FLOOR, UNTRAINED], {"liver": colours[1], "<cyst>": colours[2]}, seed=0
    )
    pixels = draw(np.random.default_rng(0).random((6, 8)), pixel_mm=(1, 1), grey=(0, 1), width=40)
    pictures = tuple(
        Picture(pixels, title) for title in ("Scan", "Truth", "Ours", "Affine", "More")
    )
    idea = tuple(Picture(pixels, title) for title in ("Shown", "Asked", "Right", "Answer"))
    return ReportContent(
        source="Three scans & one example.",
        reference_id="ct_000",
        steps=20,
        methods=METHODS,
        idea=idea,
        overall=overall,
        structures=structures,
        cohort=(("Modality", "2 CT"),),
        proposals=(pictures[:4],),
        proposals_note="Masks.",
        curve=({"step": 10, "loss": 2.0, "dice": 0.1}, {"step": 20, "loss": 1.0, "dice": 0.5}),
        reference=pictures[:2],
        cases=(
            ShownCase("c", "median", (0.3, 0.3, 0.1), pictures),
            ShownCase("a", "best", (0.65, 0.5, 0.2), pictures[:2]),
        ),
        notes=("A weak point.",),
        commands=(("mass3d inspect scans/", "Look."),),
    )


def render_page(content: ReportContent) -> str:
    return render("report.html", **page_context(content))


def test_the_page_loads_nothing_from_anywhere(content: ReportContent) -> None:
    page = render_page(content)
    loads = pages.require_whole(page)
    assert len(loads) == 4 + 4 + 2 + 5 + 2
    assert all(address.startswith("data:image/png;base64,") for address in loads)
    assert "<script" not in page


def test_the_example_and_the_cases_can_be_looked_through(
    content: ReportContent, tmp_path: Path
) -> None:
    scan = Volume.from_array(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32))
    shown = {"Truth": scan.with_voxels(np.ones((4, 5, 6), np.uint8))}
    addresses = [
        write_labels(tmp_path, name, scan, shown, {"liver": 1}) for name in ("ct_000", "c")
    ]
    write_labels(tmp_path, "of an earlier page", scan, shown, {"liver": 1})
    first, *others = content.cases
    with_volumes = replace(
        content, reference_volume=addresses[0], cases=(replace(first, volume=addresses[1]), *others)
    )
    page = write_report(with_volumes, tmp_path).read_text()
    pages.require_whole(page, beside="viewer/")
    assert re.findall('data-volume="(.*?)" data-name="(.*?)"', page) == [
        (addresses[0], "ct_000"),
        (addresses[1], "c"),
    ]
    assert len(list((tmp_path / "viewer").glob("*.js"))) == 2 + 1  # and the viewer
    write_report(content, tmp_path)
    assert not (tmp_path / "viewer").exists()


def test_the_page_says_the_scores_the_weak_points_and_what_to_type(content: ReportContent) -> None:
    page = render_page(content)
    assert page.startswith("<!doctype html>")
    for words in (
        "0.58",
        "0.40",
        "0.17",
        "affine registration",
        "The floor.",
        "ct_000",
        "A weak point.",
        "mass3d inspect scans/",
        "2 CT",
    ):
        assert words in page


def test_names_from_files_cannot_break_the_page(content: ReportContent) -> None:
    page = render_page(content)
    assert "<cyst>" not in page
    assert "&lt;cyst&gt;" in page


def test_a_page_without_a_curve_or_notes_is_still_whole(content: ReportContent) -> None:
    bare = {**vars(content), "curve": (), "notes": (), "idea": ()}
    pages.require_whole(render_page(ReportContent(**bare)))


def test_the_report_is_a_page_and_a_picture_and_the_same_bytes_again(
    content: ReportContent, tmp_path: Path
) -> None:
    page = write_report(content, tmp_path)
    first = page.read_bytes(), (tmp_path / "overview.png").read_bytes()
    write_report(content, tmp_path)
    assert first == (page.read_bytes(), (tmp_path / "overview.png").read_bytes())
    assert first[1].startswith(b"\x89PNG")


def test_the_page_tells_its_story_in_order(content: ReportContent) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", render_page(content))
    assert heads == [
        "The idea",
        "How it learned",
        "The one example",
        "Found in new scans",
        "How well",
        "What was not good",
        "Now with your own scans",
    ]


def test_the_overview_shows_the_idea_and_a_typical_case(content: ReportContent) -> None:
    above, below = overview_rows(content)
    assert [p.title for p in above] == ["Shown", "Asked", "Right", "Answer"]
    assert [p.title for p in below] == ["Truth", "Truth", "Ours", "Affine"]  # of the median
    assert len(render_overview(content)) > 1000


def test_a_curve_spans_its_box_and_skips_what_is_not_a_number() -> None:
    rows = [{"step": s, "loss": v} for s, v in ((0, 3.0), (5, float("nan")), (10, 1.0))]
    line = curve_line(rows, "loss")
    assert line is not None
    assert line.raw == "0.0,10.0 1000.0,290.0"
    assert (line.low, line.high) == (1.0, 3.0)
    assert curve_line(rows[:1], "loss") is None
    assert curve_line(rows, "dice") is None


def test_the_notes_name_weak_structures_unclear_gains_and_few_cases(
    content: ReportContent,
) -> None:
    notes = " ".join(weaknesses(content.structures, content.overall, METHODS, cases=3))
    assert "<cyst> (0.40)" in notes
    assert "liver (" not in notes
    assert "3 test cases" in notes
    assert "No gain is shown over affine registration for liver, <cyst>" in notes
    assert "worst reaches a mean Dice of 0.30" in notes


def test_scores_average_structures_within_a_case_then_cases() -> None:
    assert findings.case_means(PRETRAINED) == pytest.approx({"a": 0.65, "b": 0.8, "c": 0.3})
    assert findings.case_means({"a": {}}) == {}


def test_best_median_and_worst_are_different_cases() -> None:
    assert findings.median_worst_best({"a": 0.1, "b": 0.9, "c": 0.5}) == [
        ("median", "c"),
        ("worst", "a"),
        ("best", "b"),
    ]
    assert findings.median_worst_best({"a": 0.1}) == [("median", "a")]
    assert findings.median_worst_best({}) == []
