"""Rounds, as the verbs leave them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mass3d.files import write_json
from mass3d.server.rounds import Round
from mass3d.server.site import Site
from mass3d.transfer.results import Entry, Index
from servers import a_label, label_bytes


def made(site: Site, number: int, *references: str, **structures: int) -> Round:
    """A round as `mass3d task` leaves it, whoever has called it."""
    folder = site.rounds.folder(number)
    images = [str(site.scans.cases[name].path) for name in references]
    config = {"images": images, "structures": structures, "model": "run"}
    score = {"itself": 0.98765, "others": None, "affine": None}
    write_json(
        folder / "task.task-record" / "record.json",
        {"mass3d": "0", "verb": "task", "config": config, "dice": dict.fromkeys(structures, score)},
    )
    (folder / "task.task").write_bytes(b"task")
    found = site.rounds.of(number)
    assert found is not None
    return found


def results(one: Round, /, **entries: Entry) -> None:
    """What `mass3d segment` says of finished cases."""
    index = Index(task="x", overlap=0.5, alignment=True, cases=entries)
    write_json(one.found / "cases.json", index.plain())


def draw(site: Site, case_id: str, *values: int) -> None:
    folder = site.project.cache / "given"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "label.nii").write_bytes(label_bytes(a_label(*values)))
    site.take_label(case_id, folder / "label.nii", 10_000)


@pytest.fixture
def one(site: Site) -> Round:
    site.set_structures([{"name": "liver"}, {"name": "spleen"}])
    draw(site, "a", 1, 2)
    site.use_reference("a", use=True)
    return made(site, 1, "a", spleen=2, liver=1)


def test_a_round_is_there_once_its_task_is(site: Site) -> None:
    assert (site.rounds.made(), site.rounds.newest(), site.rounds.of(1)) == ([], None, None)
    for name in ("2", "x", "0", "-1", "3"):
        site.rounds.folder(1).with_name(name).mkdir(parents=True)
    assert site.rounds.made() == []
    made(site, 3, "a", liver=1)
    made(site, 12, "a", "b", liver=1)
    assert [one.number for one in site.rounds.made()] == [3, 12]
    newest = site.rounds.newest()
    assert newest is not None
    assert newest.references == ("a", "b")
    assert site.rounds.of(0) is None


def test_a_round_says_what_its_task_was_made_of(one: Round) -> None:
    assert list(one.structures.items()) == [("liver", 1), ("spleen", 2)]
    assert one.dice["liver"] == {"itself": 0.9877, "others": None, "affine": None}
    assert (one.model, one.begun) == ("run", None)


def test_a_task_of_all_that_is_chosen_is_not_stale(site: Site, one: Round) -> None:
    assert not site.rounds.is_stale(one, site.project.state())


def test_a_task_is_stale_once_anything_that_it_is_made_of_changes(site: Site, one: Round) -> None:
    def stale() -> bool:
        return site.rounds.is_stale(one, site.project.state())

    draw(site, "b", 1)
    assert not stale()  # it is no reference
    site.use_reference("b", use=True)
    assert stale()
    site.use_reference("b", use=False)
    site.set_structures([{"name": "liver"}, {"name": "spleen"}, {"name": "more"}])
    assert stale()
    site.set_structures([{"name": "liver"}, {"name": "spleen"}])
    site.project.change(model=Path("other"))
    assert stale()
    site.project.change(model=Path("run"))
    assert not stale()
    later = one.task.stat().st_mtime_ns + 10**9
    os.utime(site.project.label("a"), ns=(later, later))
    assert stale()  # by time, as nobody has said which label map the task was made of


def test_the_label_maps_of_a_task_of_the_page_are_known_by_content(site: Site) -> None:
    site.set_structures([{"name": "liver"}, {"name": "spleen"}])
    draw(site, "a", 1, 2)
    site.use_reference("a", use=True)
    assert site.rounds.is_stale(None, site.project.state())
    site.rounds.begin(1, site.project.state())
    one = made(site, 1, "a", spleen=2, liver=1)
    later = one.task.stat().st_mtime_ns + 10**9
    os.utime(site.project.label("a"), ns=(later, later))
    assert not site.rounds.is_stale(one, site.project.state())
    draw(site, "a", 1)
    assert site.rounds.is_stale(one, site.project.state())
    state = site.project.state()
    site.project.label("a").unlink()
    assert site.rounds.is_stale(one, state)
    assert not site.rounds.is_stale(None, site.project.state())  # nothing to make one of


def test_results_are_those_that_are_finished(site: Site, one: Round) -> None:
    assert site.rounds.results(one) == {}
    results(one, a=Entry(source="s", result="r"), b=Entry(source="s"))
    assert list(site.rounds.results(one)) == ["a"]
    results(one, a=Entry(source="s", result="r"), b=Entry(source="s", result="later"))
    assert list(site.rounds.results(one)) == ["a", "b"]
    (one.found / "cases.json").write_text("damaged")
    assert site.rounds.results(one) == {}


def test_faults_are_what_the_last_job_has_told(site: Site, one: Round) -> None:
    assert site.rounds.faults(one) == {}
    write_json(one.folder / "faults.json", {"b": "broken"})
    assert site.rounds.faults(one) == {"b": "broken"}
    for text in ("[1]", "{"):
        (one.folder / "faults.json").write_text(text)
        assert site.rounds.faults(one) == {}


def test_damaged_records_of_a_round_say_nothing(site: Site, one: Round) -> None:
    record = one.folder / "task.task-record" / "record.json"
    for told in ("[]", "{", json.dumps({"config": 1, "dice": 2}), json.dumps({"dice": {"x": 1}})):
        record.write_text(told)
        found = site.rounds.of(1)
        assert found is not None
        assert found.references == ()
    (one.folder / "round.json").write_text("{")
    shutil.rmtree(record.parent)
    found = site.rounds.of(1)
    assert found is not None
    assert (found.begun, found.structures, found.dice) == (None, {}, {})
