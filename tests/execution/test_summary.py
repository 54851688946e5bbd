from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from mass3d.config import Config, resolve
from mass3d.execution.faults import Fault
from mass3d.execution.summary import MAX_SENTENCES, Report, in_short, write_provenance
from mass3d.files import read_json


class Inner(Config):
    low: float = 1.5
    name: str | None = None


class Settings(Config):
    output: Path
    workers: int | None = None
    inputs: tuple[Path, ...] = (Path("a b.nii"),)
    inner: Inner = Inner()


@dataclass(frozen=True)
class Outcome(Report):
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        return "Did [nothing]."


def test_settings_are_written_without_place_and_speed_and_read_back(tmp_path: Path) -> None:
    config = Settings(output=tmp_path, workers=3, inner=Inner(low=2.5))
    write_provenance(tmp_path, "verb", config, number=7)
    text = (tmp_path / "config.toml").read_text()
    assert str(tmp_path) not in text
    again = resolve(Settings, file=tmp_path / "config.toml", flags={"output": tmp_path})
    assert again == config.model_copy(update={"workers": None})
    record = read_json(tmp_path / "record.json")
    assert (record["verb"], record["number"], record["config"]["inner"]["low"]) == ("verb", 7, 2.5)


def test_faults_decide_whether_all_went_well_and_are_shown_as_they_are() -> None:
    assert Outcome().ok
    report = Outcome((Fault("case", "found [3] things"),))
    assert not report.ok
    console = Console(record=True, width=80)
    report.show(console)
    assert console.export_text().splitlines() == ["Did [nothing].", "  case: found [3] things"]


def test_a_report_must_say_something() -> None:
    with pytest.raises(NotImplementedError):
        Report().summary()


def test_a_note_of_many_cases_is_told_once_and_few_are_told() -> None:
    same = {f"case{number:02}": ["it looks like CT"] for number in range(25)}
    assert list(in_short(same)) == ["case00, case01, case02, ...: it looks like CT"]
    others = {f"case{number:02}": [f"it is {number} mm"] for number in range(MAX_SENTENCES + 3)}
    told = list(in_short(others | {"a": []}))
    assert told[0] == "case00: it is 0 mm"
    assert told[MAX_SENTENCES:] == ["and 3 sentences of this kind more in the record"]
