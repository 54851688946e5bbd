"""The page of segment: order of cases, odd volumes, names from anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import pages
from mass3d.execution.faults import Fault
from mass3d.io.datasets.regions import Targets
from mass3d.pages import segment as segment_page
from mass3d.pages.pictures import write_jpeg
from mass3d.pages.segment import write_segment_page
from mass3d.pages.viewed import show_found
from mass3d.transfer.results import Entry, Index, ResultsFolder
from mass3d.volume.ranges import Measures, Ranges
from mass3d.volume.volume import Volume

STRUCTURES = {"liver": 2, "<i>aorta</i>": 1}
SCAN = Measures("ct", 1.0, (100.0, 100.0, 100.0), None)
RANGES = Ranges.of([SCAN, SCAN], [{"liver": 1200.0}, {"liver": 1500.0}])


def entry(liver: float = 1300.0, **changes: object) -> Entry:
    values = {
        "source": "s",
        "result": "r",
        "volumes_ml": {"liver": liver, "<i>aorta</i>": 40.0},
        "method": "alignment",
        "similarity": (0.4, 0.6),
    }
    return Entry.model_validate(values | changes)


def results(path: Path, entries: dict[str, Entry]) -> ResultsFolder:
    return ResultsFolder(path, Index(task="t", overlap=0.5, alignment=True, cases=entries))


def page(
    path: Path,
    entries: dict[str, Entry],
    *,
    alone: Sequence[str] = (),
    faults: Sequence[Fault] = (),
) -> str:
    folder = results(path, entries)
    written = write_segment_page(
        folder, Targets(STRUCTURES), RANGES, summary="Segmented.", alone=alone, faults=faults
    )
    text = written.read_text()
    pages.require_whole(text, beside="pictures/")
    return text


def test_the_worst_come_first(tmp_path: Path) -> None:
    entries = {
        "a": entry(),
        "b": entry(similarity=(0.1, 0.2)),
        "c": entry(10.0, odd_volumes=("liver",)),
        "d": entry(method="network", similarity=()),
        "e": entry(doubts=("it looks like CT",)),
        "f": entry(result=""),  # not finished
        "h": entry(agreement={"liver": 0.9, "<i>aorta</i>": 0.4}, similarity=(0.9,)),
    }
    text = page(tmp_path, entries, alone=("d",), faults=(Fault("g", "cannot be read"),))
    places = [text.index(f'<td class="name">{name}</td>') for name in "edchba"]
    assert places == sorted(places)
    assert '<td class="name">f</td>' not in text
    assert text.index("cannot be read") < places[0]
    assert "network alone" in text


def test_agreement_is_told_least_first_and_only_where_there_is_some(tmp_path: Path) -> None:
    agreed = entry(agreement={"liver": 0.9, "<i>aorta</i>": 0.4})
    text = page(tmp_path, {"a": agreed, "b": entry()})
    assert "&lt;i&gt;aorta&lt;/i&gt;&nbsp;0.40, liver&nbsp;0.90" in text
    assert "agreement</th>" in text
    assert "agreement" not in page(tmp_path, {"b": entry()})


def test_the_least_expected_dice_comes_first_and_is_told(tmp_path: Path) -> None:
    entries = {
        "a": entry(expected_dice={"liver": 0.9}, agreement={"liver": 0.2}),
        "b": entry(expected_dice={"liver": 0.9, "<i>aorta</i>": 0.4}, agreement={"liver": 0.8}),
        "c": entry(),
    }
    text = page(tmp_path, entries)
    places = [text.index(f'<td class="name">{name}</td>') for name in "bac"]
    assert places == sorted(places)
    assert "&lt;i&gt;aorta&lt;/i&gt;&nbsp;0.40, liver&nbsp;0.90" in text
    assert "expected Dice</th>" in text
    assert "Expected Dice" not in page(tmp_path, {"c": entry()})


def test_equal_agreements_are_told_in_one_order(tmp_path: Path) -> None:
    """Entries that were read back from the list of results have their names sorted."""
    ways = [{"liver": 0.5, "aorta": 0.5}, {"aorta": 0.5, "liver": 0.5}]
    assert len({page(tmp_path, {"a": entry(agreement=one)}) for one in ways}) == 1


def test_volumes_stand_beside_those_of_the_labelled_scans(tmp_path: Path) -> None:
    text = page(tmp_path, {"a": entry(10.0, odd_volumes=("liver",)), "b": entry(0.0)})
    assert '<span class="odd">liver&nbsp;10 (labelled: 1200 to 1500)</span>' in text
    assert "<td>1 of 2</td><td>1200 to 1500</td>" in text
    assert "&lt;i&gt;aorta&lt;/i&gt;" in text
    assert "<i>aorta" not in text


def test_pictures_lie_beside_the_page_whatever_the_case_is_called(tmp_path: Path) -> None:
    name = 'a b"#?<é'
    write_jpeg(results(tmp_path, {}).picture(name), np.zeros((8, 24, 3), np.uint8))
    text = page(tmp_path, {name: entry(), "bare": entry()})
    assert pages.require_whole(text, beside="pictures/") == ["pictures/a%20b%22%23%3F%3C%C3%A9.jpg"]


def test_the_first_cases_can_be_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_page, "MAX_CASES", 2)
    scan = Volume.from_array(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32))
    folder = results(tmp_path / "found", {})
    for number, name in enumerate(("best", "<worst>", "middle")):
        one = entry(similarity=((2 * number + 1) % 3 / 10,))  # 0.1, 0.0, 0.2
        folder.entries[name] = one
        labels = np.ones((4, 5, 6), int)
        show_found(folder, name, one, scan=scan, labels=labels, targets=Targets(STRUCTURES))
    text = write_segment_page(
        folder, Targets(STRUCTURES), RANGES, summary="", alone=(), faults=()
    ).read_text()
    loads = pages.require_whole(text, beside=("pictures/", "viewer/"))
    assert "viewer/viewer.js" in loads
    assert re.findall('data-volume="viewer/[0-9a-f]{32}.js" data-name="(.*?)"', text) == [
        "&lt;worst&gt;",
        "best",
    ]
    assert len(list((folder.path / "viewer").glob("*.js"))) == 3  # two scans and the viewer
    assert "All slices of the first 2 can be looked through" in " ".join(text.split())


def test_a_page_of_very_many_cases_shows_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_page, "MAX_ROWS", 3)
    text = page(tmp_path, {f"c{n}": entry(similarity=(n / 10,)) for n in range(5)})
    assert "The first 3 of 5" in text
    assert text.count('<td class="name">') == 3
    assert '<td class="name">c0</td>' in text


def test_a_case_of_many_structures_tells_the_first_of_them(tmp_path: Path) -> None:
    many = {f"s{n}": n for n in range(1, 10)}
    found = entry(volumes_ml=dict.fromkeys(many, 1.0), odd_volumes=("s9",))
    folder = results(tmp_path, {"a": found})
    text = write_segment_page(
        folder, Targets(many), None, summary="", alone=(), faults=()
    ).read_text()
    assert "<summary>3 more</summary>" in text
    assert text.index("s9&nbsp;1") < text.index("s1&nbsp;1") < text.index("s8&nbsp;1")
