"""A finetuned model and a task of the same labels, asked together by `segment`."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import mass3d
from helpers import TUNING, task_config
from mass3d.apps import finetune, locate, segment, task
from mass3d.errors import ConfigError, ModelError
from mass3d.files import read_json
from mass3d.io.datasets.label_names import label_colours
from mass3d.io.read import read_label, read_volume
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.finetuned.segmenter import load_finetuned
from mass3d.transfer.raw_dataset.true_labels import labelled_behind
from mass3d.transfer.results import read_results
from mass3d.transfer.task_file import load_task

NAMES = ("ct_000", "ct_002")
FIT = {"steps": 20, "precision": "32-true"}


def make_task(cohort: Path, model: Path, output: Path, **changes: object) -> Path:
    return task.run(task_config(cohort, model, output, *NAMES, **changes)).path


@pytest.fixture(scope="module")
def task_file(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_task(cohort, trained, tmp_path_factory.mktemp("tasks") / "organs.task")


@pytest.fixture(scope="module")
def tuned(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of some steps, which finds something but not all."""
    output = tmp_path_factory.mktemp("tuned") / "run"
    values = {"images": [cohort], "model": trained, "output": output, "labels": 2}
    values |= {"validation": 0, "device": "cpu", "fit": FIT}
    assert finetune.run(finetune.FinetuneConfig.model_validate(values)).ok
    return output


def run(cohort: Path, output: Path, **changes: object) -> segment.SegmentReport:
    scan = cohort / "imagesTs" / "ct_test_000_0000.nii.gz"
    values = {"inputs": [scan], "output": output, "device": "cpu", "probabilities": True}
    return segment.run(segment.SegmentConfig.model_validate(values | changes))


def probabilities(output: Path) -> NDArray[np.float32]:
    """All structures, by name."""
    files = sorted((output / "probabilities" / "ct_test_000").glob("*.nii.gz"))
    return np.stack([np.asanyarray(nib.load(file).dataobj) for file in files])


def test_the_answer_of_both_lies_between_what_each_says(
    cohort: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    given: dict[str, dict[str, object]] = {
        "alone": {"model": tuned},
        "task": {"task": task_file},
        "both": {"model": tuned, "task": task_file, "agreement": True},
    }
    for name, asked in given.items():
        assert run(cohort, tmp_path / name, **asked).ok
    alone, other, both = (probabilities(tmp_path / name) for name in given)
    assert alone.any()
    assert not np.allclose(alone, other, atol=0.05)
    rounding = 0.006  # of 255ths
    assert (both > np.minimum(alone, other) - rounding).all()
    assert (both < np.maximum(alone, other) + rounding).all()
    apart = np.abs(alone - other) > 0.2
    shares = (both - alone)[apart] / (other - alone)[apart]
    assert 0.5 < shares.mean() < 0.999  # a network of some steps is unsure
    results = {name: read_results(tmp_path / name) for name in given}
    assert len({one.task for one in results.values()}) == 3
    entries = {name: one.cases["ct_test_000"] for name, one in results.items()}
    assert [entry.method for entry in entries.values()] == ["finetuned", "alignment", "both"]
    assert entries["both"].similarity == entries["task"].similarity
    assert entries["both"].agreement == entries["task"].agreement
    share = read_volume(tmp_path / "both" / "agreement" / "ct_test_000.nii.gz").voxels
    found = read_label(tmp_path / "both" / "ct_test_000.nii.gz").voxels
    assert share[found > 0].max() == 1
    in_memory = mass3d.load(tuned).segment(
        read_volume(cohort / "imagesTs" / "ct_test_000_0000.nii.gz"), load_task(task_file)
    )
    np.testing.assert_array_equal(in_memory.voxels, found)


def test_true_labels_and_colours_of_both_are_known(
    cohort: Path, trained: Path, tuned: Path, tmp_path: Path
) -> None:
    """Found: true labels were said to be of something else, and colours of the task were lost."""
    chosen = make_task(
        cohort, trained, tmp_path / "x.task", tune=False, colours={"liver": "#010203"}
    )
    report = run(cohort, tmp_path / "both", model=tuned, task=chosen)
    assert label_colours([tmp_path / "both" / "ct_test_000.nii.gz"], [1]) == {1: (1, 2, 3)}
    made_by = read_results(report.output).task
    behind = labelled_behind(report.output, made_by)
    learned = [*read_json(tuned / "record.json")["training"]]
    assert sorted(case.case_id for case in behind.cases) == sorted([*NAMES, *learned])
    assert behind.notes == ()
    (told,) = labelled_behind(report.output, "0" * 64).notes
    assert f"{tuned} and {chosen} are others than made these results" in told


def test_structures_are_the_same_by_name_whatever_their_order(
    cohort: Path, trained: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    names = dict(reversed(list(load_task(task_file).structures.items())))
    turned = make_task(cohort, trained, tmp_path / "turned.task", structures=names, tune=False)
    plain = make_task(cohort, trained, tmp_path / "plain.task", tune=False)
    for file in (turned, plain):
        run(cohort, tmp_path / file.stem, model=tuned, task=file)
    ours, theirs = (
        read_label(tmp_path / name / "ct_test_000.nii.gz") for name in ("turned", "plain")
    )
    np.testing.assert_array_equal(ours.voxels, theirs.voxels)


def test_of_structures_that_the_task_does_not_know_the_model_answers_alone(
    cohort: Path, trained: Path, tuned: Path, tmp_path: Path
) -> None:
    few = make_task(cohort, trained, tmp_path / "few.task", structures={"liver": 1}, tune=False)
    for name, asked in {"alone": {"model": tuned}, "both": {"model": tuned, "task": few}}.items():
        run(cohort, tmp_path / name, **asked)
    alone, both = (probabilities(tmp_path / name) for name in ("alone", "both"))
    names = sorted(load_finetuned(tuned, device="cpu").structures)
    liver, others = names.index("liver"), [n for n, name in enumerate(names) if name != "liver"]
    np.testing.assert_allclose(both[others], alone[others], atol=3e-4)  # kept in 16 bits
    assert not np.allclose(both[liver], alone[liver], atol=0.05)


def test_the_model_answers_alone_where_nothing_is_aligned_and_that_is_told(
    cohort: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    run(cohort, tmp_path / "alone", model=tuned)
    run(cohort, tmp_path / "off", model=tuned, task=task_file, alignment=False)
    assert read_results(tmp_path / "off").cases["ct_test_000"].method == "finetuned"
    np.testing.assert_array_equal(
        probabilities(tmp_path / "off"), probabilities(tmp_path / "alone")
    )
    noise = np.random.default_rng(0).normal(0, 300, (30, 30, 30)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([7.0, 7.0, 7.0, 1.0])), tmp_path / "noise.nii.gz")
    report = run(
        cohort, tmp_path / "out", inputs=[tmp_path / "noise.nii.gz"], model=tuned, task=task_file
    )
    assert report.not_aligned == ("noise",)
    run(cohort, tmp_path / "out", model=tuned, task=task_file)
    page = (tmp_path / "out" / "segment.html").read_text()
    assert '<h3>Not aligned</h3><div class="figure">1</div>' in page  # of the call before


def test_without_a_reference_there_is_no_map_of_agreement_and_that_is_told(
    cohort: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    """Found: it was 0 everywhere, as if no reference had agreed."""
    noise = np.random.default_rng(0).normal(0, 300, (30, 30, 30)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([7.0, 7.0, 7.0, 1.0])), tmp_path / "noise.nii.gz")
    scan = cohort / "imagesTs" / "ct_test_000_0000.nii.gz"
    both: dict[str, object] = {"model": tuned, "task": task_file, "agreement": True}
    off = run(cohort, tmp_path / "off", **both, alignment=False)
    on = run(cohort, tmp_path / "on", **both, inputs=[scan, tmp_path / "noise.nii.gz"])
    for report, name in ((off, "ct_test_000"), (on, "noise")):
        assert any("there is no map of how many agree" in one for one in report.warnings)
        entry = read_results(report.output).cases[name]
        assert entry.doubts[-1].startswith("no reference was aligned")
        assert not any(file.startswith("agreement") for file in entry.maps)
        assert not (report.output / "agreement" / f"{name}.nii.gz").exists()
    (told,) = [file for file in read_results(on.output).cases["ct_test_000"].maps if "agr" in file]
    assert (on.output / told).exists()
    times = [file.stat().st_mtime_ns for file in sorted(on.output.glob("*.nii.gz"))]
    again = run(cohort, tmp_path / "on", **both, inputs=[scan, tmp_path / "noise.nii.gz"])
    assert again.warnings == on.warnings
    assert [file.stat().st_mtime_ns for file in sorted(on.output.glob("*.nii.gz"))] == times


def test_places_are_not_asked_of_a_finetuned_model(
    cohort: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    settings = {"inputs": [cohort / "imagesTs"], "task": task_file, "model": tuned}
    settings |= {"output": tmp_path / "places", "device": "cpu"}
    with pytest.raises(ConfigError, match="found a finetuned model; expected the pretrained"):
        locate.run(locate.LocateConfig.model_validate(settings))
    assert not (tmp_path / "places").exists()


def test_a_task_that_does_not_fit_is_refused(
    cohort: Path, trained: Path, task_file: Path, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for names in ({"liver": 2}, {"hepar": 1}):
        file = make_task(cohort, trained, tmp_path / "x.task", structures=names, tune=False)
        with pytest.raises(ConfigError, match="expected structures of the model"):
            run(cohort, out, model=tuned, task=file)
    wide = make_task(cohort, trained, tmp_path / "wide.task", tuning={**TUNING, "network": True})
    with pytest.raises(ConfigError, match="that of the pretrained network"):
        run(cohort, out, model=tuned, task=wide)
    tensors, facts, _ = checkpoint.load(tuned / WEIGHTS, kind="weights")
    other = tmp_path / "other" / WEIGHTS
    checkpoint.save(other, tensors, kind="weights", facts={**facts, "model": "0" * 64})
    told = r"\(the same network and preparation, but other weights\).* the finetuned model began"
    with pytest.raises(ModelError, match=told):
        run(cohort, out, model=other.parent, task=task_file)
    for asked in ({"references": 1}, {"prior": cohort / "labelsTs"}):
        with pytest.raises(ConfigError, match="a finetuned model"):
            run(cohort, out, model=tuned, task=task_file, **asked)
    assert not out.exists()


def test_priors_and_the_nearest_references_are_for_tasks_alone(
    cohort: Path, task_file: Path, tuned: Path
) -> None:
    scan = read_volume(cohort / "imagesTs" / "ct_test_000_0000.nii.gz")
    model, known = load_finetuned(tuned, device="cpu"), load_task(task_file)
    with pytest.raises(ConfigError, match="a prior for a finetuned model"):
        model.answer(scan, known, prior=scan)
    with pytest.raises(ConfigError, match="a references for a finetuned model"):
        model.answer(scan, known, references=1)
