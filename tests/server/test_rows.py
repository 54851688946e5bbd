"""The table: what is said of a case, and which comes first."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from mass3d.files import write_json
from mass3d.server.rounds import Round
from mass3d.server.site import Site
from mass3d.transfer.results import Entry
from server.test_rounds import draw, made, results


def rows(site: Site, number: int | None = None) -> dict[str, dict[str, Any]]:
    body = json.loads(site.cases(number)[0])
    return {row["id"]: row for row in body["cases"]}


def test_a_new_case_says_what_its_header_does(site: Site) -> None:
    row = rows(site)["c <&> d"]
    assert row.pop("revision")
    assert row == {
        "id": "c <&> d",
        "state": "new",
        "modality": None,
        "shape": [9, 8, 7],
        "spacing_mm": [2.0, 3.0, 4.0],
        "agreement": None,
        "expected_dice": None,
        "volumes_ml": {},
        "notes": [],
        "error": None,
        "drawn": False,
        "corrected": False,
        "reference": False,
        "segmented": False,
    }


def test_a_case_goes_from_new_to_drawn_to_reference_to_corrected(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    row = rows(site)["a"]
    assert (row["state"], row["drawn"]) == ("drawn", True)
    assert row["volumes_ml"] == {"liver": pytest.approx(18 * 0.024)}
    site.use_reference("a", use=True)
    assert rows(site)["a"]["state"] == "reference"
    one = made(site, 1, "a", liver=1)
    results(one, b=Entry(source="s", result="r", volumes_ml={"liver": 5.0}))
    row = rows(site)["b"]
    assert (row["state"], row["segmented"], row["volumes_ml"]) == ("segmented", True, {"liver": 5})
    assert not rows(site)["a"]["corrected"]
    draw(site, "b", 1)
    row = rows(site)["b"]
    assert (row["state"], row["corrected"], row["segmented"]) == ("drawn", True, True)
    site.remove_label("b")
    row = rows(site)["b"]
    assert (row["state"], row["corrected"]) == ("segmented", False)


def test_volumes_of_a_label_map_that_came_by_itself_are_not_read_for_the_table(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    os.utime(site.project.label("a"), ns=(1, 1))
    assert rows(site)["a"]["volumes_ml"] == {}
    assert rows(site)["a"]["drawn"]


def test_the_worst_come_first(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    one = made(site, 1, "a", liver=1)
    good = Entry(source="s", result="r", agreement={"liver": 0.9, "spleen": 0.8})
    bad = good.model_copy(update={"agreement": {"liver": 0.5}})
    results(one, a=good, b=bad)
    assert list(rows(site)) == ["b", "a", "c <&> d"]
    assert rows(site)["a"]["agreement"] == 0.8
    sure = bad.model_copy(update={"expected_dice": {"liver": 0.9}})
    unsure = good.model_copy(update={"expected_dice": {"liver": 0.9, "spleen": 0.6}})
    results(one, a=unsure, b=sure)
    assert list(rows(site)) == ["a", "b", "c <&> d"]
    assert rows(site)["a"]["expected_dice"] == 0.6
    results(one, a=good.model_copy(update={"doubts": ("it is upside down",)}), b=bad)
    assert list(rows(site)) == ["a", "b", "c <&> d"]
    assert rows(site)["a"]["notes"] == ["it is upside down"]
    write_json(one.folder / "faults.json", {"c <&> d": "cannot be read", "b": "older"})
    found = rows(site)
    assert list(found) == ["c <&> d", "a", "b"]
    assert (found["c <&> d"]["state"], found["c <&> d"]["error"]) == ("fault", "cannot be read")
    assert found["b"]["error"] is None  # it was segmented since


def test_what_is_odd_is_told(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    site.use_reference("a", use=True)
    entry = Entry(
        source="s",
        result="r",
        method="network",
        volumes_ml={"liver": 3.0, "spleen": 0.0},
        odd_volumes=("liver", "spleen"),
    )
    results(made(site, 1, "a", liver=1), b=entry)
    assert rows(site)["b"]["notes"] == [
        "the volume of liver is far from that in all references",
        "spleen was not found",
        "no reference could be aligned to this scan; the network segmented it alone",
    ]


def test_the_revision_changes_with_what_the_picture_shows(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    one = made(site, 1, "a", liver=1)
    seen = {rows(site)["b"]["revision"], site.table.revision("b", one)}
    assert len(seen) == 1
    results(one, b=Entry(source="s", result="r"))
    seen.add(rows(site)["b"]["revision"])
    draw(site, "b", 1)
    seen.add(rows(site)["b"]["revision"])
    site.set_structures([{"name": "liver", "colour": "#00ff00"}])
    seen.add(rows(site)["b"]["revision"])
    assert len(seen) == 4
    assert rows(site)["a"]["revision"] not in seen


def test_an_earlier_round_can_be_asked_for(site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    results(made(site, 1, "a", liver=1), a=Entry(source="s", result="r"))
    made(site, 2, "a", liver=1)
    assert not rows(site)["a"]["segmented"]
    assert rows(site, 1)["a"]["segmented"]
    assert not rows(site, 0)["a"]["segmented"]


def test_the_table_is_made_again_only_when_something_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    count: list[Round | None] = []
    real = site.table.rows

    def making(_: object, one: Round | None) -> list[dict[str, Any]]:
        count.append(one)
        return real(one)

    monkeypatch.setattr(type(site.table), "rows", making)
    monkeypatch.setattr("mass3d.server.site.LOOK_S", 1e9)
    first = site.cases(None)
    assert (site.cases(None), len(count)) == (first, 1)
    site.project.change(round=5)
    assert site.cases(None) == first  # the same words, made anew
    assert len(count) == 2
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    assert site.cases(None)[1] != first[1]
