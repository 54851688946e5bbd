from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mass3d.execution.faults import Fault
from mass3d.inspection.masks import CaseMasks, Deviation, mean_best_dice, outliers
from mass3d.masks.quality import Quality
from mass3d.pages.masks import (
    PageContent,
    in_words,
    pictured_cases,
    write_masks_page,
)
from mass3d.pages.pictures import Picture


def case(**changes: Any) -> CaseMasks:
    quality = Quality(100, 3, 0.9, 4, 5.0, (20, 200, 9000), (0, 0, 0, 0, 9, 40, 30, 21))
    facts: dict[str, Any] = {
        "modality": "ct",
        "quality": quality,
        "engines": {"hierarchy": quality, "external": quality},
        "agreement": {"hierarchy": {"external": 0.25}, "external": {"hierarchy": 0.5}},
        "layers": (("hierarchy", 60), ("external", 40)),
        "notes": (),
        "best_dice": None,
    }
    return CaseMasks(**facts | changes)


def few_masks() -> CaseMasks:
    quality = Quality(5, 3, 0.9, 4, 5.0, (20, 200, 9000), (0, 0, 0, 0, 5))
    return case(quality=quality, engines={"hierarchy": quality}, agreement={"hierarchy": {}})


def pictures() -> tuple[Picture, ...]:
    noise = np.random.default_rng(0).integers(0, 255, (200, 600, 3)).astype(np.uint8)
    return tuple(Picture(noise, title) for title in ("scan", "large", "medium", "small"))


def page(folder: Path, cases: dict[str, CaseMasks], **changes: Any) -> str:
    odd = outliers({n: c.quality for n, c in cases.items()}, dict.fromkeys(cases, "ct"))
    facts: dict[str, Any] = {
        "summary": "a summary",
        "spacing_mm": 2.0,
        "cases": cases,
        "outliers": odd,
        "best_dice": mean_best_dice(cases),
        "pictures": {name: pictures() for name in pictured_cases(cases, odd)},
        "volumes": {},
        "faults": (),
    }
    return write_masks_page(folder / "masks.html", PageContent(**facts | changes)).read_text()


def test_a_case_that_stands_out_is_first_and_the_page_says_why(tmp_path: Path) -> None:
    cases = {f"case{n}": case() for n in range(8)} | {"zz_few": few_masks()}
    text = page(tmp_path, cases)
    assert "5 masks, where 100 are usual" in text
    table = text[text.index("Every scan") :]
    names = re.findall(r'class="name">(\w+)<', table)
    assert names == ["zz_few", *(f"case{n}" for n in range(8))]
    assert text.index("zz_few") < text.index("case0")


def test_engines_stand_beside_each_other_with_how_much_they_agree(tmp_path: Path) -> None:
    text = page(tmp_path, {"a": case(), "b": case(), "c": few_masks()})
    assert re.search(r"external 0\.25.*hierarchy 0\.50", text, re.DOTALL)
    assert "100 (5 to 100)" in text
    alone = page(tmp_path, {"c": few_masks()})
    assert "Best IoU" not in alone


def test_scores_and_notes_and_faults_are_shown_where_there_are_some(tmp_path: Path) -> None:
    dice = {"liver": {"hierarchy": 0.4, "together": 0.625}}
    cases = {"a": case(best_dice=dice, notes=("2 external masks left out, empty (x)",))}
    text = page(tmp_path, cases, faults=(Fault("b", "broken <file>"),))
    assert "liver" in text
    assert "0.62" in text
    assert "2 external masks left out, empty (x)" in text
    assert "broken &lt;file&gt;" in text
    bare = page(tmp_path, {"a": case()})
    assert "Against labels" not in bare
    assert "Faults" not in bare


def test_a_case_whose_picture_failed_and_a_scan_without_masks_are_shown_too(tmp_path: Path) -> None:
    nothing = Quality(0, 0, 0.0, 0, 0.0, (0, 0, 0), ())
    empty = case(quality=nothing, engines={}, agreement={}, layers=())
    text = page(tmp_path, {"a": empty}, pictures={})
    assert "No picture could be drawn" in text


def test_the_page_needs_nothing_else_and_stays_small_for_500_cases(tmp_path: Path) -> None:
    cases = {f"case{n:03d}": case() for n in range(480)}
    cases |= {f"odd{n:02d}": few_masks() for n in range(20)}
    text = page(tmp_path, cases)
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert not re.search(r"https?:(?!//www\.w3\.org)", text)
    assert text.count("<img") == 4 * (12 + 6)
    assert "Pictures of the 12 farthest of 20" in text
    assert len(text) < 15e6


@pytest.mark.parametrize(
    ("deviation", "words"),
    [
        (Deviation("num_masks", 5, 100, 9.0), "5 masks, where 100 are usual"),
        (Deviation("coverage", 0.4, 0.93, 9.0), "40% of the body in masks, where 93% is usual"),
        (Deviation("median", 10, 2000, 9.0), "a median mask of 0.08 ml, where 16 ml is usual"),
        (Deviation("largest", 2000, 10, 9.0), "a largest mask of 16 ml, where 0.08 ml is usual"),
    ],
)
def test_reasons_are_sentences(deviation: Deviation, words: str) -> None:
    assert in_words(deviation, voxel_ml=0.008) == words


def test_a_sample_is_spread_over_the_names_and_never_holds_one_twice() -> None:
    cases = {f"{n:02d}": case() for n in range(11)}
    assert pictured_cases(cases, {}) == ["00", "02", "04", "06", "08", "10"]
    assert pictured_cases({"a": case(), "b": case()}, {}) == ["a", "b"]
    odd = {"b": (Deviation("num_masks", 1, 9, 4.0),)}
    assert pictured_cases({"a": case(), "b": case()}, odd) == ["b", "a"]
    assert pictured_cases({"b": case()}, odd) == ["b"]
