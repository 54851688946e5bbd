"""When a run is validated, what is written, and what is said of a plateau."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.model.presets import PRESETS
from mass3d.training import checkpoint
from mass3d.training.log import append_row
from mass3d.training.resume import ResumeRecord
from mass3d.training.run_files import RESUME
from mass3d.training.step import Progress
from mass3d.transfer.trained import load_trained
from mass3d.transfer.validation.course import FLOORS, ROWS, Course, Trial, begin_course
from mass3d.transfer.validation.settings import ValidationConfig
from mass3d.volume.preparation import PreparationConfig

CROP = (32, 32, 32)
PREPARATION = PreparationConfig(spacing_mm=7.0)


def trial(objective: str = "masks", *, seed: int = 0) -> Trial:
    cpu = torch.device("cpu")
    return Trial(PRESETS["tiny"], seed, objective, CROP, PREPARATION, cpu)


def at(step: int, steps: int = 1000, *, before: int = 0) -> Progress:
    return Progress(step, steps, {"loss": 1.0}, 1.0, before=before)


@pytest.fixture
def config(cohort: Path) -> ValidationConfig:
    return ValidationConfig(dataset=cohort, every=1, queries=1, patience=2)


@pytest.fixture
def course(config: ValidationConfig, tmp_path: Path) -> Course:
    return begin_course(tmp_path, config, trial())


class Failing(nn.Module):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(self.words)

    def encode_task(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        raise AssertionError


def test_a_validation_is_due_once_its_steps_have_passed_and_at_the_end(
    config: ValidationConfig, tmp_path: Path, trained: Path
) -> None:
    course = begin_course(tmp_path, config.model_copy(update={"every": 25}), trial())
    net = load_trained(trained, device="cpu").net
    for before, step in pairwise([*range(0, 100, 10), 95]):
        course(net, at(step, 95, before=before))
    assert [row["step"] for row in course.rows] == [30, 50, 80, 95]


def test_a_row_has_the_dice_of_structures_beside_floors_that_are_found_once(
    config: ValidationConfig, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = begin_course(tmp_path, config, trial())
    said = capsys.readouterr().err
    assert f"{course.scans.example.case_id} is shown" in said
    assert "Dice without learning: untrained" in said
    assert course.in_words() == ""
    course(load_trained(trained, device="cpu").net, at(7))
    row = json.loads((course.run / ROWS).read_text())
    assert row == course.rows[0]
    assert row["step"] == 7
    assert row["structures"].keys() == course.floors["affine"].keys()
    assert row["affine"] > row["untrained"] >= 0
    assert f"(untrained {row['untrained']:.3f}, affine {row['affine']:.3f})" in course.in_words()

    path = course.run / FLOORS
    held = json.loads(path.read_text())
    held["affine"] = dict.fromkeys(held["affine"], 0.5)
    path.write_text(json.dumps(held))  # shows whether it is read
    again = begin_course(course.run, config, trial())
    assert set(again.floors["affine"].values()) == {0.5}
    assert again.rows == []  # there is no resume state to go on with
    for due, kept in (((), [6, 7]), (("loss",), [6])):  # stopped before the row of step 7
        for step in (6, 7):
            append_row(course.run / ROWS, row | {"step": step})
        record = ResumeRecord(step=7, precision="32-true", optimizer={}, run={}, row_due=due)
        checkpoint.save(course.run / RESUME, {}, kind="resume", facts=record.plain())
        known = begin_course(course.run, config, trial())
        assert [one["step"] for one in known.rows] == kept
        (course.run / RESUME).unlink()
        (course.run / ROWS).unlink()
    other = begin_course(course.run, config, trial(seed=1))
    assert other.floors["affine"] == course.floors["affine"]
    path.write_text("{")
    assert begin_course(course.run, config, trial()).floors == course.floors


def test_a_dice_that_does_not_rise_is_told_once_and_stops_nothing(
    course: Course, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (course.since_best(), course.plateau()) == (0, "")
    net = load_trained(trained, device="cpu").net
    said = []
    for step in range(1, 5):
        capsys.readouterr()
        course(net, at(step, before=step - 1))
        said.append("has not risen above" in capsys.readouterr().err)
    assert said == [False, False, True, False]
    assert "(step 1) in 3 validations" in course.plateau()
    course.rows.append({"step": 5, "dice": 2.0})
    assert (course.since_best(), course.plateau()) == (0, "")
    course.rows.append({"step": 6, "dice": None})  # no query shows any structure
    assert course.since_best() == 1


def test_too_little_memory_leaves_a_validation_out_and_other_errors_pass(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    course(Failing("CUDA out of memory. Tried 2 GiB\nframe"), at(3))
    assert "No validation at step 3: not enough memory (CUDA" in capsys.readouterr().err
    assert not (course.run / ROWS).exists()
    with pytest.raises(RuntimeError, match="a shape"):
        course(Failing("a shape"), at(3))


def test_an_objective_that_never_matches_is_refused(
    config: ValidationConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="objective contrastive"):
        begin_course(tmp_path, config, trial("contrastive"))


def test_untrained_is_the_network_that_the_run_begins_with(
    config: ValidationConfig, trained: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    usual = begin_course(tmp_path / "a", config, trial())
    learned = load_trained(trained, device="cpu").net
    before = {name: one.clone() for name, one in learned.state_dict().items()}
    other = trial()._replace(first=learned, began="another")
    course = begin_course(tmp_path / "b", config, other)
    course(learned, at(7))
    assert course.floors["untrained"] == course.rows[0]["structures"]
    assert course.floors["untrained"] != usual.floors["untrained"]
    assert all(torch.equal(before[name], one) for name, one in learned.state_dict().items())
    assert begin_course(tmp_path / "a", config, other).floors == course.floors  # not those held
