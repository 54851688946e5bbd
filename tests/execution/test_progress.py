from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from mass3d.execution.progress import MAX_LINES, MAX_SENTENCES, Clock, TellOnce, duration, progress


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (3600, "1 h"), (7900, "2 h 12 min")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def clock(times: Iterator[float]) -> Clock:
    return Clock(lambda: next(times))


def test_the_time_left_goes_by_the_pace_so_far() -> None:
    found = clock(iter([100.0, 110.0, 130.0, 160.0]))
    told = [found.left(done, 5) for done in (1, 3, 5)]
    assert told == ["about 40 s left", "about 20 s left", ""]


def test_a_run_that_goes_on_is_timed_from_where_it_goes_on() -> None:
    found = clock(iter([0.0, 50.0, 60.0]))
    assert found.left(1000, 2000) == ""
    assert found.left(1010, 2000) == "about 16 min left"


def test_a_log_gets_few_lines_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work", 1000) as advance:
        for done in range(1, 1001):
            advance(done, "loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert 0 < len(lines) <= MAX_LINES + 1
    assert lines[0].startswith("work 50/1000  loss 0.5  about ")
    assert lines[-1] == "work 1000/1000  loss 0.5"


@pytest.mark.parametrize("terminal", [True, False])
def test_work_goes_on_when_nobody_listens_any_more(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    done = []
    with progress("work", 3) as advance:
        for step in range(1, 4):
            advance(step)
            done.append(step)
    assert done == [1, 2, 3]


def test_each_sentence_about_cases_is_told_once_and_few_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = TellOnce()
    told("a", ["too small", "too dark"])
    told("b", ["too small"])
    told("c", [f"of {number} mm" for number in range(MAX_SENTENCES)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["a: too small", "a: too dark", "c: of 0 mm"]
    assert len(lines) == MAX_SENTENCES
