"""What of a run can be looked at: its rows, its page, its words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.model.presets import PRESETS
from mass3d.pages.run import PACE, RUN_PAGE, flat
from mass3d.pages.step import STEP_PAGE
from mass3d.pages.watch import Watch
from mass3d.pretext.task import MATCHING_VIEWS, OBJECTIVES, TASKS, Cohort
from mass3d.store.reader import Store
from mass3d.training import checkpoint
from mass3d.training.log import append_row, read_rows
from mass3d.training.resume import ResumeRecord
from mass3d.training.run_files import METRICS, RESUME
from mass3d.training.step import Progress
from mass3d.transfer.trained import load_trained
from mass3d.transfer.validation.course import Trial
from mass3d.transfer.validation.settings import ValidationConfig
from mass3d.views.draw import ViewConfig
from mass3d.volume.preparation import PreparationConfig

CPU, CROP = torch.device("cpu"), (32, 32, 32)
TASK = TASKS["correspondence"]
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def net(trained: Path) -> nn.Module:
    return load_trained(trained, device="cpu").net


def watch(run: Path, **changes: Any) -> Watch:
    prepared = PreparationConfig(spacing_mm=7.0)
    trial = Trial(PRESETS["tiny"], 0, "masks", CROP, prepared, CPU)
    settings = {"store": [EVIL], "output": "secret", "fit": {"lr": 0.1, "seed": None}}
    return Watch(run, TASK, trial, settings, **changes)


def now(step: int, *, steps: int = 100) -> Progress:
    figures = {"loss": 2.0 / step, "accuracy": 0.75, "bce": 1.0}
    return Progress(step, steps, figures, 12.5, 0.4, 0.5, step - 1)


def row(run: Path, step: int) -> Progress:
    """As the loop does: a row, then the hooks."""
    done = now(step)
    append_row(run / METRICS, {"step": step, **done.figures})
    return done


def test_the_page_grows_with_the_run_and_holds_all_it_shows(
    store: Path, cohort: Path, net: nn.Module, tmp_path: Path
) -> None:
    opened = Store.open(store)
    cases = [opened.case(case_id) for case_id in opened.case_ids]
    views = ViewConfig.model_validate({**MATCHING_VIEWS, "alignments": 0})
    batches = TASK.batches(Cohort(cases, CROP, 2, 0, tmp_path, 1), views)
    said: list[str] = []
    watched = watch(tmp_path)
    watched.begin(
        ValidationConfig(dataset=cohort, every=2, queries=1, patience=1), tensorboard=True
    )
    hooks = watched.hooks(batches, lambda done, told="": said.append(told))
    for step in (1, 2, 3):
        done = row(tmp_path, step)
        for hook in hooks:
            hook(net, done)
        assert (tmp_path / RUN_PAGE).exists() == (step > 1)  # with the first validation
    page = (tmp_path / RUN_PAGE).read_text()
    assert "Step 2 of 100" in page
    assert "About 3 min left" in page
    assert 'http-equiv="refresh"' in page
    assert "40 % of the time waits for batches" in page
    assert "Validation at step 2" in page
    assert not (tmp_path / STEP_PAGE).exists()
    assert said[0] == (
        "loss 2.000  accuracy 0.750  12.5 samples/s  40% of the time waits for batches"
    )
    assert "validation Dice" in said[1]

    for step in (4, 100):
        done = row(tmp_path, step)
        for hook in hooks:
            hook(net, done)
    page = (tmp_path / RUN_PAGE).read_text()
    assert "All 100 steps are done" in page
    assert "left" not in re.sub(r"<(style|svg)>.*?</\1>", "", page, flags=re.S).split("<main>")[0]
    assert "refresh" not in page
    assert "has not risen above" in page
    for title in ("Loss", "Accuracy", "Dice of the validation", "Samples per second"):
        assert f"<h3>{title}</h3>" in page
    assert page.count("stroke-dasharray") == 2  # the floors
    assert page.count("<img") >= 2 + 2
    assert 'src="http' not in page
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "secret" not in page
    assert "fit.lr" in page
    assert (tmp_path / STEP_PAGE).exists()
    pace = [json.loads(line) for line in (tmp_path / PACE).read_text().splitlines()]
    assert [one["step"] for one in pace] == [1, 2, 3, 4, 100]
    assert pace[0] == {"step": 1, "samples_per_s": 12.5, "wait_share": 0.4}


def test_an_objective_without_masks_has_a_page_without_pairs(
    net: nn.Module, tmp_path: Path
) -> None:
    other = OBJECTIVES["contrastive"]["correspondence"]
    watched = replace(watch(tmp_path), task=other)
    watched.begin(ValidationConfig(), tensorboard=False)
    hooks = watched.hooks(lambda step, device: None, lambda done, told="": None)
    append_row(tmp_path / PACE, {"step": 100, "samples_per_s": 1.0, "wait_share": 0.0})
    for hook in hooks:
        hook(net, now(100))
    page = (tmp_path / RUN_PAGE).read_text()
    assert "What a step saw" not in page
    assert "Validation at" not in page
    assert not (tmp_path / STEP_PAGE).exists()


def test_pages_take_a_small_share_of_the_time(net: nn.Module, tmp_path: Path) -> None:
    watched = watch(tmp_path)
    watched.begun -= 31
    watched.took = 1.0  # a page of a second is written every 50
    watched.write(net, now(1))
    assert not (tmp_path / RUN_PAGE).exists()
    watched.begun -= 31
    watched.write(net, now(2))
    assert (tmp_path / RUN_PAGE).exists()
    assert watched.took < 1.0


def test_a_run_that_goes_on_drops_the_pace_of_steps_that_are_taken_again(tmp_path: Path) -> None:
    append_row(tmp_path / PACE, {"step": 7, "samples_per_s": 1.0, "wait_share": 0.0})
    watch(tmp_path).begin(ValidationConfig(), tensorboard=False)  # no state: from the first step
    assert (tmp_path / PACE).read_text() == ""


@pytest.mark.parametrize(("due", "kept"), [((), [6, 7]), (("loss",), [6])])
def test_of_a_step_whose_row_is_due_no_row_is_kept(
    tmp_path: Path, due: tuple[str, ...], kept: list[int]
) -> None:
    """The run was stopped before it, went on, and was killed while it wrote."""
    for step in (6, 7):
        append_row(tmp_path / PACE, {"step": step})
    record = ResumeRecord(step=7, precision="32-true", optimizer={}, run={}, row_due=due)
    checkpoint.save(tmp_path / RESUME, {}, kind="resume", facts=record.plain())
    watch(tmp_path).begin(ValidationConfig(), tensorboard=False)
    assert [row["step"] for row in read_rows(tmp_path / PACE)] == kept


def test_tensorboard_is_asked_for_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mass3d.training.events.LIBRARY", "no_such_package")
    with pytest.raises(ConfigError, match="no package tensorboard"):
        watch(tmp_path).begin(ValidationConfig(), tensorboard=True)


def test_settings_are_told_by_dotted_names() -> None:
    values = {"a": {"b": [1, 2], "c": None}, "d": "x"}
    assert list(flat(values)) == [("a.b", "[1, 2]"), ("d", '"x"')]
