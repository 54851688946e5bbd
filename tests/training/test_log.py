"""Rows of metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mass3d.errors import OutputError
from mass3d.training.log import StepLog, append_row, cut_rows
from mass3d.training.step import StepOutcome


def outcome(loss: float, masks: float, *case_ids: str) -> StepOutcome:
    return StepOutcome(torch.tensor(loss), {"masks": torch.tensor(masks)}, case_ids)


def log() -> StepLog:
    made = StepLog()
    made.add(3, [outcome(1.0, 5.0, "a"), outcome(2.0, 7.0, "b")], torch.tensor(0.5))
    made.add(4, [outcome(3.5, 1.0, "c"), outcome(4.5, 2.0, "d")], torch.tensor(2.5))
    return made


def test_a_row_is_the_mean_over_batches_and_steps() -> None:
    means = {key: float(value) for key, value in log().means().items()}
    assert means == {"loss": 2.75, "masks": 3.75, "grad_norm": 1.5}
    assert StepLog().means() == {}


def test_steps_that_are_in_no_row_yet_survive_a_saved_run() -> None:
    restored = StepLog()
    restored.restore(4, dict(sorted(log().tensors().items())))  # a file sorts its names
    assert [entry.step for entry in restored.entries] == [3, 4]
    for made in (log(), restored):
        made.add(5, [outcome(9.0, 3.0, "e")], torch.tensor(1.0))
    again = log()
    again.add(5, [outcome(9.0, 3.0, "e")], torch.tensor(1.0))
    assert list(restored.means().items()) == list(again.means().items())


def test_nothing_to_restore_is_nothing() -> None:
    made = log()
    made.restore(8, {})
    assert made.entries == []


@pytest.mark.parametrize(("loss", "norm"), [("nan", 1.0), ("inf", 1.0), (1.0, "nan"), (1.0, "inf")])
def test_the_first_step_that_is_not_finite_is_named(loss: str, norm: str) -> None:
    made = log()
    assert made.first_not_finite() is None
    made.add(5, [outcome(float(loss), 1.0, "x", "y")], torch.tensor(float(norm)))
    made.add(6, [outcome(float("nan"), 1.0, "z")], torch.tensor(1.0))
    entry = made.first_not_finite()
    assert entry is not None
    assert (entry.step, [part.case_ids for part in entry.parts]) == (5, [("x", "y")])


def test_rows_past_a_saved_run_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    cut_rows(path, 3)  # nothing is there yet
    assert not path.exists()
    for step in (2, 4, 6):
        append_row(path, {"step": step, "loss": 1 / step})
    with path.open("a") as stream:
        stream.write('{"step": 8, "lo')  # killed on the way
    cut_rows(path, 5)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    path.write_text('{"step": 1}\n{"loss": 1}\nnothing\n')
    cut_rows(path, 9)
    assert path.read_text() == '{"step": 1}\n'


def test_a_row_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"metrics\.jsonl"):
        append_row(tmp_path / "absent" / "metrics.jsonl", {"step": 1})
