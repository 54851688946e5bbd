"""Event files of TensorBoard hold the numbers that they are given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mass3d.errors import ConfigError
from mass3d.training.events import EVENTS, EventWriter, require_tensorboard


def test_numbers_are_read_back_and_steps_taken_again_are_not_shown_twice(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    first = EventWriter(tmp_path, begin=0)
    for step in (1, 2, 3):
        first.write(step, {"loss": 1.0 / step, "dice": None})
    first.close()
    second = EventWriter(tmp_path, begin=2)  # the run was killed after the state of step 2
    second.write(3, {"loss": 0.25, "dice": 0.5})
    second.close()
    read = EventAccumulator(str(tmp_path / EVENTS))
    read.Reload()
    assert read.Tags()["scalars"] == ["loss", "dice"]
    assert [(row.step, row.value) for row in read.Scalars("loss")] == [(1, 1), (2, 0.5), (3, 0.25)]
    assert "tensorflow" not in sys.modules


def test_where_it_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_tensorboard()
    monkeypatch.setattr("mass3d.training.events.LIBRARY", "no_such_package")
    with pytest.raises(ConfigError, match=r"no package tensorboard.*'\.\[tensorboard\]'"):
        require_tensorboard()
