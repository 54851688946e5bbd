"""`mass3d finetune --unlabelled`: what a task says of scans without labels is learned, too."""

from __future__ import annotations

import json
import shutil
import signal
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helpers
from helpers import OTHERS
from mass3d.apps import curve, finetune
from mass3d.errors import ConfigError, DataError, Interrupted, ModelError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.read import read_label, read_volume
from mass3d.phantom import STRUCTURES
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.curves.plan import TAUGHT, make_plan, odd_plan
from mass3d.transfer.finetuned import learn
from mass3d.transfer.finetuned import verb as finetuned_verb
from mass3d.transfer.finetuned.scans import structures_of
from mass3d.transfer.finetuned.taught import ANSWERS, Teacher, teacher_of
from mass3d.transfer.finetuned.verb import finetune as finetuned
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.tuning.settings import DEFAULT
from mass3d.views.labelled import LabelledCase, LabelledViews
from mass3d.volume.preparation import prepare_label, prepare_volume

STEPS = 3
FIT = {"steps": STEPS, "log_every": 1, "save_every": 1, "precision": "32-true"}

pytestmark = pytest.mark.usefixtures("quick_tasks")


def settings(cohort: Path, trained: Path, output: Path, **changes: Any) -> finetune.FinetuneConfig:
    values = {
        "images": [cohort],
        "unlabelled": [cohort / "imagesTr"],
        "model": trained,
        "output": output,
        "labels": 1,
        "validation": 1,
        "seed": 8,  # a CT is labelled, an MR kept apart; one of each is left
        "device": "cpu",
        "fit": FIT,
    }
    return finetune.FinetuneConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def taught(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps."""
    output = tmp_path_factory.mktemp("taught") / "run"
    report = finetune.run(settings(cohort, trained, output))
    assert report.ok
    assert "on 1 labelled scan and 1 scan without labels in" in report.summary()
    return output


def test_what_is_learned_from_is_in_the_record_and_answers_go_at_the_end(
    taught: Path, cohort: Path, trained: Path, tmp_path: Path
) -> None:
    record = json.loads((taught / "record.json").read_text())
    parts = [record[name] for name in ("training", "validation", "unlabelled")]
    assert [len(part) for part in parts] == [1, 1, 2]
    assert len({name for part in parts for name in part}) == 4  # each in one part
    assert not (taught / ANSWERS).exists()
    facts = checkpoint.read_facts(taught / WEIGHTS, kind="weights")
    alone = tmp_path / "alone"
    finetune.run(settings(cohort, trained, alone, unlabelled=()))
    others = checkpoint.read_facts(alone / WEIGHTS, kind="weights")
    assert "unlabelled" not in others
    assert facts.keys() - others.keys() == {"unlabelled"}
    assert (alone / WEIGHTS).read_bytes() != (taught / WEIGHTS).read_bytes()


def test_the_answers_are_those_of_the_task_and_near_the_truth(
    cohort: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "task", partialmethod(Segmenter.task, tuning=DEFAULT))
    first, *others = find_labelled([cohort])
    targets = structures_of([first], None)
    teacher = teacher_of(trained, [first], targets, partial=False, device="cpu")
    found = teacher.teach(others, tmp_path)
    alike = [case for case in others if case.case_id.startswith("ct")]
    assert alike
    assert [one.case_id for one in found.cases] == [case.case_id for case in alike]
    assert not found.faults
    for case, one in zip(alike, found.cases, strict=True):
        assert case.label is not None
        scan = prepare_volume(read_volume(case.path), teacher.segmenter.trained.preparation)
        truth = prepare_label(read_label(case.label.paths[0]), scan.grid)
        np.testing.assert_array_equal(one.image, scan.image.astype(np.float16))
        said = teacher.segmenter.answer(read_volume(case.path), teacher.task).labels
        mine = prepare_label(read_volume(case.path).with_voxels(said), scan.grid)
        assert dice(one.label, mine) > 0.75  # that went to the finer grid of the scan and back
        assert dice(one.label, truth) > 0.5
    (told,) = found.odd
    assert "mr_001" in told
    assert "mr, where the labelled scans are ct" in told
    with pytest.raises(DataError, match="mr, where the labelled scans are ct"):
        teacher.teach([case for case in others if case not in alike], tmp_path)


def dice(one: Any, other: Any) -> float:
    """Least of all structures of the phantoms."""
    pairs = [(one == value, other == value) for value in STRUCTURES.values()]
    return min(2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs)


def test_structures_are_numbered_as_in_the_labels_whatever_the_task_knows(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """The second structure, which no labelled scan shows, is no part of the task."""
    data = shutil.copytree(cohort, tmp_path / "data")
    names = list(STRUCTURES)
    gone = STRUCTURES[names[1]]
    for path in (data / "labelsTr").glob("*.nii.gz"):
        label = read_label(path)
        label.with_voxels(np.where(label.voxels == gone, 0, label.voxels)).save(path)
    first, *others = find_labelled([data])
    targets = structures_of([first], None)
    for partial in (False, True):
        teacher = teacher_of(trained, [first], targets, partial=partial, device="cpu")
        assert list(teacher.task.structures) == [names[0], *names[2:]]
        for one in teacher.teach(others, tmp_path / "answers").cases:
            assert {*np.unique(one.label)} == {*range(len(names) + 1)} - {2}
            assert one.known == (True, not partial, *(True for _ in names[2:]))


def test_the_same_answers_are_learned_where_the_work_was_stopped(
    cohort: Path, trained: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(cohort, trained, tmp_path / "run")
    step, asked = learn.label_step, list[str]()
    ask = Teacher._ask

    def counted(self: Teacher, answers: Any, case: Any) -> LabelledCase | str:
        asked.append(case.case_id)
        if len(asked) == 2:  # after the first answer
            raise KeyboardInterrupt  # as of SIGINT, which background jobs of a shell ignore
        return ask(self, answers, case)

    def stopped(model: Any, views: LabelledViews, context: Any, **others: Any) -> Any:
        if len(asked) == 4:
            asked.append("a step")
            signal.raise_signal(signal.SIGTERM)
        return step(model, views, context, **others)

    monkeypatch.setattr(Teacher, "_ask", counted)
    monkeypatch.setattr(learn, "label_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune.run(config)
    assert (tmp_path / "run" / ANSWERS).is_dir()
    assert not (tmp_path / "run" / WEIGHTS).exists()
    with pytest.raises(Interrupted):
        finetune.run(config)
    report = finetune.run(config)
    assert report.unlabelled == 1  # of two, as a CT says nothing of an MR
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (taught / WEIGHTS).read_bytes()
    assert not (tmp_path / "run" / ANSWERS).exists()


def test_answers_of_another_task_are_not_learned_from(
    cohort: Path, trained: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found: a killed run of other labels left answers that the next one in the folder took."""
    output = tmp_path / "run"

    def stopped(*given: Any, **others: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetuned_verb, "learn", stopped)
        with pytest.raises(KeyboardInterrupt):
            finetune.run(settings(cohort, trained, output, structures={"liver": 3, "kidneys": 1}))
    assert (output / ANSWERS).is_dir()
    finetune.run(settings(cohort, trained, output))
    assert (output / WEIGHTS).read_bytes() == (taught / WEIGHTS).read_bytes()
    assert not (output / ANSWERS).exists()


def test_a_scan_that_cannot_be_read_is_a_fault_and_the_others_teach(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    scans = shutil.copytree(cohort / "imagesTr", tmp_path / "scans")
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    label = next((cohort / "labelsTr").iterdir())
    shutil.copy(label, scans / "looks_like_a_scan.nii.gz")
    config = settings(cohort, trained, tmp_path / "run", unlabelled=[scans])
    report = finetune.run(config)
    assert not report.ok
    assert sorted(fault.where for fault in report.faults) == ["broken", "looks_like_a_scan"]
    assert (tmp_path / "run" / WEIGHTS).exists()
    again = finetune.run(config)  # nothing is read, and yet the exit code stays
    assert (again.ok, again.faults, again.warnings) == (False, report.faults, report.warnings)
    assert again.summary() == report.summary()
    assert again.unlabelled == 1
    record = tmp_path / "run" / "record.json"
    told = json.loads(record.read_text())
    assert told["answered"] == 1
    record.write_text(json.dumps({k: v for k, v in told.items() if k != "answered"}))
    assert finetune.run(config).unlabelled == 4  # of an older run nobody knows better


def test_an_ignore_label_is_told_where_a_task_teaches(
    cohort: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = helpers.renamed(cohort, tmp_path / "data", helpers.ignore_gallbladder)
    told = "voxels of nnU-Net's ignore label (4) are background in the task"
    report = finetune.run(settings(data, trained, tmp_path / "run"))
    assert any(told in one for one in report.warnings)
    assert told in capsys.readouterr().err  # before the work
    config = {"dataset": data, "model": trained, "output": tmp_path / "curve", "labels": "1"}
    for against, known in (("task", [True]), ("scratch", [])):
        plan = make_plan(curve.CurveConfig.model_validate(config | {"against": against}), seed=0)
        assert [told in one for one in odd_plan(plan)] == known
        assert (told in capsys.readouterr().err) == bool(known)


def test_scans_to_which_nothing_can_be_aligned_are_told(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    scans = shutil.copytree(cohort / "imagesTr", tmp_path / "scans")
    one = read_volume(next(scans.iterdir()))
    noise = np.random.default_rng(0).normal(0, 300, one.voxels.shape).astype(np.float32)
    one.with_voxels(noise).save(scans / "ct_noise.nii.gz")
    report = finetune.run(settings(cohort, trained, tmp_path / "run", unlabelled=[scans]))
    told = (
        "noise: without labels, and nothing is learned from it: no labelled scan could be aligned"
    )
    assert any(told in one for one in report.warnings)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(scans / "ct_noise.nii.gz", alone)
    with pytest.raises(DataError, match="nothing can be learned from"):
        finetune.run(settings(cohort, trained, tmp_path / "other", unlabelled=[alone]))
    assert not (tmp_path / "other" / WEIGHTS).exists()


def test_only_what_is_neither_labelled_nor_kept_apart_is_learned_from(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    copies = shutil.copytree(cohort / "imagesTr", tmp_path / "copies")
    for number, path in enumerate(sorted(copies.iterdir())):
        path.rename(copies / f"copy_{number}.nii.gz")
    done = finetuned(settings(cohort, trained, tmp_path / "run", unlabelled=[copies]))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert len(record["unlabelled"]) == 2
    assert done.unlabelled == 1
    config = settings(cohort, trained, tmp_path / "other", labels="all", unlabelled=[copies])
    with pytest.raises(ConfigError, match="4 scans, all of them labelled"):
        finetune.run(config)
    assert not (tmp_path / "other").exists()


def test_what_no_task_can_teach_is_refused_before_the_work(
    cohort: Path, trained: Path, objective_runs: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    regions = {"both": [1, 2], "one": [1]}
    with pytest.raises(ConfigError, match="regions of several values"):
        finetune.run(settings(cohort, trained, output, structures=regions))
    with pytest.raises(ModelError, match="never learned to match"):
        finetune.run(settings(cohort, objective_runs[OTHERS[0]], output))
    assert not output.exists()


def test_labels_that_show_the_model_nothing_cannot_teach(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """Found: an error about `structures`, which nobody had set."""
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    for path in (data / "labelsTr").iterdir():
        label = read_label(path)
        label.with_voxels(helpers.lost_voxel(label, 1, spacing_mm=7.0)).save(path)
    with pytest.raises(DataError, match="no voxel of any structure in the labels, on the 7 mm"):
        finetune.run(settings(data, trained, tmp_path / "run"))
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_curve_teaches_with_the_scans_that_were_not_drawn(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    config = curve.CurveConfig.model_validate(
        {
            "dataset": cohort,
            "model": trained,
            "output": tmp_path / "curve",
            "labels": "1,all",
            "draws": 1,
            "against": TAUGHT,
            "device": "cpu",
            "fit": FIT,
        }
    )
    plan = make_plan(config, seed=0)
    points = {(point.start.name, point.labels): point for point in plan.points()}
    assert points.keys() == {("run", 1), ("run", 4), (TAUGHT, 1)}  # of all labels nothing is left
    ours, theirs = (plan.scans(points[name, 1]) for name in ("run", TAUGHT))
    assert ours.training == theirs.training
    assert not ours.unlabelled
    everything = {case.case_id for case in find_cohort([cohort / "imagesTr"]).cases}
    assert {case.case_id for case in (*theirs.training, *theirs.unlabelled)} == everything
    report = curve.run(config)
    assert (TAUGHT, 1) in {(mark.start, mark.labels) for mark in report.curves.marks()}
    record = json.loads((tmp_path / "curve" / TAUGHT / "1-0" / "record.json").read_text())
    assert len(record["unlabelled"]) == 3
