"""A run that is scored on labelled scans while it goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers import STEPS, pretrain_config
from mass3d.apps import pretrain
from mass3d.errors import ConfigError
from mass3d.pretext.task import TASKS
from mass3d.training.events import EVENTS
from mass3d.training.fit import StepContext, StepOutcome
from mass3d.training.run_files import METRICS, WEIGHTS
from mass3d.transfer.validation.course import FLOORS, ROWS


def test_a_validated_run_has_the_bytes_of_one_that_is_not_and_goes_on_with_its_rows(
    trained: Path,
    store: Path,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validation = {"dataset": cohort, "every": 1, "queries": 1, "patience": 1}
    config = pretrain_config(store, tmp_path / "run", validation=validation, tensorboard=True)
    usual = TASKS["correspondence"]

    def watched(model: Any, batch: Any, context: StepContext) -> StepOutcome:
        if context.step == 3:
            raise KeyboardInterrupt  # after a row of step 3, of which there is no state
        return usual.step(model, batch, context)

    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "correspondence", replace(usual, step=watched))
        with pytest.raises(KeyboardInterrupt):
            pretrain.run(config)
    begun = (tmp_path / "run" / ROWS).read_text().splitlines()
    assert len(begun) == 3
    pretrain.run(config)
    for name in (WEIGHTS, METRICS):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes(), name
    lines = (tmp_path / "run" / ROWS).read_text().splitlines()
    assert lines[:3] == begun  # the third was found again
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert (tmp_path / "run" / FLOORS).exists()
    rows = [json.loads(line) for line in (trained / METRICS).read_text().splitlines()]
    read = EventAccumulator(str(tmp_path / "run" / EVENTS))
    read.Reload()
    for name in ("loss", "accuracy", "lr"):
        shown = {row.step: row.value for row in read.Scalars(name)}
        assert shown == pytest.approx({row["step"]: row[name] for row in rows}, rel=1e-6), name
    dice = {row.step: row.value for row in read.Scalars("validation")}
    told = {row["step"]: row["dice"] for row in map(json.loads, lines)}
    assert dice == pytest.approx(told, rel=1e-6)


def test_a_finished_run_is_not_validated_in_silence(
    trained: Path, store: Path, cohort: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    validation = {"dataset": cohort, "every": 1, "queries": 1}
    config = pretrain_config(store, run, validation=validation)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ConfigError, match="a finished run that was not validated"):
        pretrain.run(config)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    (run / ROWS).write_text("{}")  # as of a run that was validated: nothing is left to be done
    assert pretrain.run(config).ok
