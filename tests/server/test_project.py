"""What is chosen in a project, as a file."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from mass3d.errors import DataError
from mass3d.io.colours import PALETTE
from mass3d.server.project import FILE, Project, State, Structure, completed

ONE = Structure(name="liver", value=3, colour="#0000ff")


def project_of(folder: Path) -> Project:
    project = Project(folder, {"a", "b"})
    project.begin(Path("run"), (Path("scans"),))
    return project


def test_a_project_is_begun_once_and_goes_on_with_what_it_has(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.change(structures=(ONE,))
    project.begin(Path("other"), (Path("scans"), Path("more")))
    state = project.state()
    assert state.structures == (ONE,)
    assert (state.model, len(state.inputs)) == (Path("other"), 2)
    assert (state.values, state.colours) == ({"liver": 3}, {3: (0, 0, 255)})
    assert State.model_validate(json.loads((tmp_path / FILE).read_text())) == state


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    before = project.file.stat().st_mtime_ns
    project.change(round=0)
    assert project.file.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["", "[]", '{"model": 1}', '{"x": 1}'])
def test_a_damaged_project_is_told(tmp_path: Path, text: str) -> None:
    project = project_of(tmp_path)
    project.file.write_text(text)
    with pytest.raises(DataError, match="a damaged project"):
        project.state()


def test_references_without_scan_or_label_map_are_none(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    for name in ("a", "gone"):
        project.label(name).parent.mkdir(exist_ok=True)
        project.label(name).touch()
    project.change(references=("b", "a", "gone"))
    assert project.state().references == ("a",)


def test_changes_made_at_once_are_all_kept(tmp_path: Path) -> None:
    project = project_of(tmp_path)

    def add(name: str) -> None:
        project.update(lambda state: {"corrected": (*state.corrected, name)})

    names = {f"case {number}" for number in range(30)}
    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(project.state().corrected) == names


def test_values_and_colours_are_given_out_where_they_are_missing() -> None:
    found = completed([{"name": "a"}, {"name": "b", "value": 1}, {"name": "liver"}], (ONE,))
    assert [(one.name, one.value) for one in found] == [("a", 2), ("b", 1), ("liver", 3)]
    assert found[2].colour == "#0000ff"
    assert found[1].rgb == PALETTE[0]
    assert completed([{"name": "liver", "value": 4}], (ONE,))[0].colour == "#0000ff"


@pytest.mark.parametrize(
    "given",
    [
        ["liver"],
        [{}],
        [{"name": ""}],
        [{"name": 5}],
        [{"name": " a"}],
        [{"name": "a\nb"}],
        [{"name": "a" * 65}],
        [{"name": "a", "value": 0}],
        [{"name": "a", "value": 70000}],
        [{"name": "a", "value": 1.5}],
        [{"name": "a", "value": "1"}],
        [{"name": "a", "value": True}],
        [{"name": "a", "value": [1]}],
        [{"name": "a", "colour": "red"}],
        [{"name": "a", "colour": "#12345"}],
        [{"name": "a", "colour": "#123456;}"}],
        [{"name": "a", "more": 1}],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "value": 1}, {"name": "b", "value": 1}],
        [{"name": str(number)} for number in range(256)],
    ],
)
def test_structures_that_cannot_be_are_refused(given: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        completed(given, ())


def test_names_may_be_of_any_letters() -> None:
    names = ["<b>", 'a"b', "Leber ü", "肝", "a/b", "..", "a = 1"]
    assert [one.name for one in completed([{"name": name} for name in names], ())] == names
