"""`mass3d curve` end to end on phantoms, and starts of every objective."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helpers
from helpers import OTHERS
from mass3d.apps import curve, finetune, task
from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.files import read_json
from mass3d.io.datasets.cohort import find_label
from mass3d.io.datasets.labelled import find_labelled, find_tests
from mass3d.io.read import read_label
from mass3d.metrics.overlap import label_overlaps
from mass3d.pages.curve import PAGE, PLOT
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.curves.files import JSON_FILE, TABLE
from mass3d.transfer.finetuned.learn import first_network
from mass3d.transfer.finetuned.scans import read_labelled, structures_of
from mass3d.transfer.finetuned.scores import SCORES
from mass3d.transfer.finetuned.segmenter import load_finetuned
from mass3d.transfer.segmenter import Segmenter

FIT = {"steps": 2, "log_every": 1, "precision": "32-true"}

pytestmark = pytest.mark.usefixtures("quick_tasks")


def settings(cohort: Path, trained: Path, output: Path, **changes: Any) -> curve.CurveConfig:
    values = {
        "dataset": cohort,
        "model": trained,
        "output": output,
        "labels": "1,all",
        "draws": 1,
        "device": "cpu",
        "fit": FIT,
    }
    return curve.CurveConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def drawn(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a curve."""
    output = tmp_path_factory.mktemp("curves") / "curve"
    report = curve.run(settings(cohort, trained, output))
    assert report.ok
    assert "Compared 2 starts with 2 numbers of labels in 1 draw" in report.summary()
    assert any("edges" in one for one in report.warnings)  # phantoms are finer than the model
    return output


def test_a_curve_tells_values_without_a_name_also_of_points_finished_before(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """Found: the structures of all labels were handed on as if somebody had chosen them."""
    data = helpers.renamed(cohort, tmp_path / "data", lambda labels: labels.pop("aorta"))
    config = settings(data, trained, tmp_path / "curve", labels="1", fit={**FIT, "steps": 1})
    report = curve.run(config)
    assert any("does not name (3)" in one for one in report.warnings)
    assert curve.run(config).warnings == report.warnings
    assert "does not name (3)" in (tmp_path / "curve" / PAGE).read_text()
    wanted = settings(
        data, trained, tmp_path / "chosen", labels="1", fit={**FIT, "steps": 1}, structures={"a": 1}
    )
    assert not any("does not name" in one for one in curve.run(wanted).warnings)


def test_a_curve_holds_every_finetuning_and_what_it_says(drawn: Path, cohort: Path) -> None:
    names = {path.name for path in drawn.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("run", "scratch", "config.toml", "record.json"),
        *(JSON_FILE, TABLE, PAGE, PLOT),
    }
    told = json.loads((drawn / JSON_FILE).read_text())
    assert told["starts"] == ["run", "scratch"]
    assert told["labels"] == [1, 4]
    assert told["tests"] == ["ct_test_000", "mr_test_001"]
    assert [(one["start"], one["labels"]) for one in told["points"]] == [
        *(("run", 1), ("run", 4)),
        *(("scratch", 1), ("scratch", 4)),
    ]
    assert [one["over"] for one in told["gains"]] == ["scratch"] * 2
    records = [
        json.loads((drawn / start / "1-0" / "record.json").read_text())
        for start in ("run", "scratch")
    ]
    assert records[0]["training"] == records[1]["training"] == told["training"]["1-0"]
    assert records[0]["began"]["fresh"] < records[0]["began"]["loaded"]
    assert records[1]["began"]["loaded"] == 0
    with (drawn / TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["start"] for row in rows} == {"run", "scratch"}
    assert {row["case"] for row in rows} == set(told["tests"])


def test_the_same_command_goes_on_and_adds(
    drawn: Path, cohort: Path, trained: Path, objective_runs: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "curve"
    shutil.copytree(drawn, output)
    shutil.rmtree(output / "scratch" / "4-0")  # as if killed before it
    before = {path: path.stat().st_mtime_ns for path in output.rglob(WEIGHTS)}
    report = curve.run(settings(cohort, trained, output))
    assert (output / TABLE).read_bytes() == (drawn / TABLE).read_bytes()
    assert (output / JSON_FILE).read_bytes() == (drawn / JSON_FILE).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    more = settings(
        cohort,
        trained,
        output,
        labels=[1],
        against=["scratch", str(objective_runs["contrastive"])],
    )
    report = curve.run(more)
    assert report.curves.starts == ("run", "contrastive", "scratch")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    told = {name: (output / name).read_bytes() for name in ("config.toml", "record.json")}
    with pytest.raises(ConfigError, match=r"fit\.steps"):
        curve.run(settings(cohort, trained, output, fit={**FIT, "steps": 3}))
    assert {name: (output / name).read_bytes() for name in told} == told  # those of the results


def test_the_labelled_scans_can_be_shown_as_a_task_instead(
    drawn: Path, cohort: Path, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "curve"
    shutil.copytree(drawn, output)
    config = settings(cohort, trained, output, against="scratch,task,both", most_references=1)
    report = curve.run(config)
    assert report.curves.starts == ("run", "scratch", "task", "both")
    marks = {(mark.start, mark.labels): mark.dice.mean for mark in report.curves.marks()}
    assert {("task", 1), ("both", 1)} <= marks.keys()
    assert not {("task", 4), ("both", 4)} & marks.keys()  # more than are shown
    assert [gain.labels for gain in report.curves.gains() if gain.over == "task"] == [1]
    scores = output / "task" / "1-0" / SCORES
    before = scores.stat().st_mtime_ns, (output / TABLE).read_bytes()
    assert curve.run(config).curves.verdict() == report.curves.verdict()
    assert (scores.stat().st_mtime_ns, (output / TABLE).read_bytes()) == before
    # what the verbs task and segment make of the same labelled scan
    drawn_id = json.loads((output / JSON_FILE).read_text())["training"]["1-0"][0]
    model = Segmenter.load(trained, device="cpu")
    scan, label = cohort / "imagesTr" / f"{drawn_id}_0000.nii.gz", cohort / "labelsTr" / drawn_id
    named = structures_of(find_labelled([cohort]), None)
    made = model.task([scan], [label.with_suffix(".nii.gz")], dict(named.values))
    case = next(one for one in find_tests(cohort) if one.case_id == "ct_test_000")
    truth = read_labelled(case, named)
    found = model.segment(truth.volume, made).voxels
    expected = label_overlaps(found, truth.numbers)[1].dice  # phantoms count structures from 1
    first = next(iter(named.values))
    assert read_json(scores)["cases"]["ct_test_000"][first] == pytest.approx(expected)
    # and what segment makes of it together with the model that was finetuned on the same scan
    tuned = load_finetuned(output / "run" / "1-0", device="cpu")
    found = tuned.segment(truth.volume, made).voxels
    expected = label_overlaps(found, truth.numbers)[1].dice
    scores = output / "both" / "1-0" / SCORES
    assert read_json(scores)["cases"]["ct_test_000"][first] == pytest.approx(expected)


def test_what_no_drawn_scan_shows_is_no_part_of_the_task_and_not_found(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    for path in (data / "labelsTr").glob("*.nii.gz"):
        label = read_label(path)
        label.with_voxels(np.where(label.voxels == 2, 0, label.voxels)).save(path)
    config = settings(data, trained, tmp_path / "curve", labels=[1], draws=1, against="task,both")
    curve.run(config)
    names = list(structures_of(find_labelled([cohort]), None).values)
    for start in ("task", "both"):
        cases = read_json(tmp_path / "curve" / start / "1-0" / SCORES)["cases"]
        assert all(scores[names[1]] == 0 for scores in cases.values())
        assert any(scores[names[0]] > 0 for scores in cases.values())


def test_a_task_of_nothing_finds_nothing_and_the_curve_goes_on(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """Found: an error about `structures`, hours after the curve had begun."""
    data, output = Path(shutil.copytree(cohort, tmp_path / "data")), tmp_path / "curve"
    for path in (data / "labelsTr").glob("*.nii.gz"):
        label = read_label(path)
        label.with_voxels(helpers.lost_voxel(label, 1, spacing_mm=7.0)).save(path)
    config = settings(data, trained, output, labels=[1], against="task,both,taught")
    report = curve.run(config)
    assert report.ok
    by_start = {
        start: read_json(output / start / "1-0" / SCORES)["cases"]
        for start in ("run", "task", "both")
    }
    assert all(dice == 0 for scores in by_start["task"].values() for dice in scores.values())
    assert by_start["both"] == by_start["run"]
    marks = {mark.start: mark.draws for mark in report.curves.marks()}
    assert marks["taught"] == marks["run"]
    told = "no voxel of any structure in the labels, on the 7 mm grid of the model"
    assert [one.partition(told)[2] for one in report.warnings if told in one] == [
        ") and is scored as the finetuning with labels alone",
        ": nothing is found",
        ": the finetuned model answers alone",
    ]
    before = {path: path.stat().st_mtime_ns for path in output.rglob(SCORES)}
    assert curve.run(config).warnings == report.warnings
    assert {path: path.stat().st_mtime_ns for path in output.rglob(SCORES)} == before


def test_a_bad_label_of_a_test_scan_is_told_before_the_first_training(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    path = data / "labelsTs" / "mr_test_001.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=path.name):
        curve.run(settings(data, trained, tmp_path / "curve"))
    assert not list((tmp_path / "curve").rglob(WEIGHTS))


def test_a_copy_in_the_test_part_is_told_in_the_report_and_on_the_page(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    for folder, end in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
        shutil.copy(data / f"{folder}Tr" / f"ct_000{end}", data / f"{folder}Ts" / f"new{end}")
    config = settings(data, trained, tmp_path / "curve", labels=[1], fit={**FIT, "steps": 1})
    report = curve.run(config)
    told = "new is the same scan as ct_000 that was learned from"
    assert f"Warning: {told}" in report.summary()
    assert told in (tmp_path / "curve" / PAGE).read_text()
    assert any(told in one for one in read_json(tmp_path / "curve/record.json")["warnings"])


def test_a_task_of_what_never_learned_to_match_is_refused_before_the_work(
    cohort: Path, objective_runs: dict[str, Path], tmp_path: Path
) -> None:
    config = settings(cohort, objective_runs["autoencoder"], tmp_path / "curve", against=["task"])
    with pytest.raises(ModelError, match="never learned to match"):
        curve.run(config)
    assert not (tmp_path / "curve").exists()


def test_a_task_of_regions_is_refused_before_the_work(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    regions = {"both": [1, 2], "one": [1]}
    config = settings(cohort, trained, tmp_path / "curve", against=["task"], structures=regions)
    with pytest.raises(ConfigError, match="regions of several values"):
        curve.run(config)
    assert not (tmp_path / "curve").exists()


@pytest.mark.parametrize("objective", OTHERS)
def test_a_run_of_any_objective_is_a_start_with_all_else_equal(
    objective: str, objective_runs: dict[str, Path], trained: Path, cohort: Path, tmp_path: Path
) -> None:
    facts, reports = [], []
    for name, run, start in (
        ("masks", trained, "pretrained"),
        (objective, objective_runs[objective], "pretrained"),
        ("scratch", objective_runs[objective], "scratch"),
    ):
        values = {"images": [cohort], "model": run, "start": start, "output": tmp_path / name}
        config = {**values, "labels": 1, "validation": 0, "device": "cpu", "fit": FIT}
        reports.append(finetune.run(finetune.FinetuneConfig.model_validate(config)))
        facts.append(checkpoint.read_facts(tmp_path / name / WEIGHTS, kind="weights"))
    ours, theirs, scratch = facts
    assert {key for key in ours if ours[key] != theirs[key]} == {"model"}
    assert {key for key in ours if scratch[key] != theirs[key]} == {"start"}
    assert len({report.training for report in reports}) == 1
    assert f"objective {objective};" in reports[1].summary()
    assert "nothing was loaded" in reports[2].summary()
    loaded, fresh = reports[1].began.loaded, reports[1].began.fresh
    assert loaded + fresh == reports[2].began.fresh
    net = first_network(objective_runs[objective], 4, start="pretrained", seed=0)
    assert sum(p.numel() for p in net.trunk.parameters()) == loaded


@pytest.mark.parametrize("objective", OTHERS)
def test_a_task_is_refused_where_nothing_was_matched(
    objective: str, objective_runs: dict[str, Path], cohort: Path, tmp_path: Path
) -> None:
    label = find_label(cohort / "labelsTr", "ct_000")
    assert label is not None
    scan, run = cohort / "imagesTr" / "ct_000_0000.nii.gz", objective_runs[objective]
    values = {"images": [scan], "labels": [label], "model": run, "device": "cpu", "tune": False}
    config = task.TaskConfig.model_validate({**values, "output": tmp_path / "one.task"})
    if objective == "correspondence":
        assert (
            "Warning: the network was pretrained with the objective" in task.run(config).summary()
        )
        return
    with pytest.raises(ModelError, match=f"{objective}, which never learned to match"):
        task.run(config)
    with pytest.raises(ModelError, match="never learned to match"):
        Segmenter.load(run).task([scan], [label], {"liver": 1})
    assert not list(tmp_path.iterdir())
