from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import helpers
import mass3d
from helpers import untrained_run
from mass3d.apps import embed, evaluate, finetune, segment, task
from mass3d.config import build
from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.io.datasets.cohort import find_label
from mass3d.io.read import read_label
from mass3d.phantom import STRUCTURES
from mass3d.training import checkpoint
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from mass3d.transfer.finetuned.scores import SCORES

STEPS = 4


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    return untrained_run(run, crop=32, spacing_mm=7.0)


def settings(
    cohort: Path, pretrained: Path, output: Path, **changes: Any
) -> finetune.FinetuneConfig:
    values = {
        "images": [cohort],
        "model": pretrained,
        "output": output,
        "labels": 2,
        "validation": 1,
        "device": "cpu",
        "fit": {"steps": STEPS, "log_every": 1, "save_every": 2, "precision": "32-true"},
    }
    return finetune.FinetuneConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def tuned(cohort: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finetuned run of a few steps."""
    output = tmp_path_factory.mktemp("tuned") / "run"
    assert finetune.run(settings(cohort, pretrained, output)).ok
    return output


def content(run: Path, *names: str) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in names}


def test_it_learns_what_the_labels_show(cohort: Path, pretrained: Path, tmp_path: Path) -> None:
    config = settings(
        cohort,
        pretrained,
        tmp_path / "run",
        labels="all",
        structures={"liver": 1},
        fit={"steps": 60, "precision": "32-true"},
    )
    report = finetune.run(config)
    assert report.scores is not None
    assert report.scores.mean is not None
    assert report.scores.mean > 0.5
    assert len(report.training) == 3
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert rows[-1]["dice"] > rows[0]["dice"] + 0.2


def test_a_run_holds_weights_scores_and_what_made_it(tuned: Path) -> None:
    names = {path.name for path in tuned.iterdir() if not path.name.startswith(".")}
    assert names == {WEIGHTS, METRICS, SCORES, "config.toml", "record.json"}
    record = json.loads((tuned / "record.json").read_text())
    assert record["verb"] == "finetune"
    assert record["structures"] == STRUCTURES
    assert len(record["training"]) == 2
    assert len(record["validation"]) == 1
    assert not set(record["training"]) & set(record["validation"])
    scores = json.loads((tuned / SCORES).read_text())
    assert list(scores["cases"]) == record["validation"]
    facts = checkpoint.read_facts(tuned / WEIGHTS, kind="weights")
    assert facts["structures"] == [[name, value] for name, value in STRUCTURES.items()]
    assert facts["start"] == "pretrained"


def test_scans_kept_for_tests_are_never_learned_from(tuned: Path) -> None:
    record = json.loads((tuned / "record.json").read_text())
    assert not any("test" in name for name in [*record["training"], *record["validation"]])


def test_a_copy_on_both_sides_is_told_each_time(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    for folder in ("imagesTr", "labelsTr"):
        first, *others = sorted((data / folder).iterdir())
        for other in others:
            shutil.copy(first, other)
    config = settings(data, pretrained, tmp_path / "run", fit={"steps": 1})
    for _ in range(2):  # the second time nothing is learned
        report = finetune.run(config)
        assert report.scores is not None
        (kept,) = report.scores.cases
        assert f"Warning: {kept} is the same scan as {report.training[0]} that was" in (
            report.summary()
        )


def test_the_same_settings_give_the_same_bytes_wherever_the_scans_lie(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    shutil.copytree(cohort, tmp_path / "moved")
    again = settings(
        cohort,
        pretrained,
        tmp_path / "run",
        images=[tmp_path / "moved" / "imagesTr"],
        label_maps=[tmp_path / "moved" / "labelsTr"],
    )
    finetune.run(again)
    names = (WEIGHTS, METRICS, SCORES)
    assert content(tmp_path / "run", *names) == content(tuned, *names)


def test_a_finished_run_is_not_done_again_and_of_other_settings_refused(
    cohort: Path, pretrained: Path, tuned: Path
) -> None:
    before = content(tuned, WEIGHTS, METRICS, SCORES)
    report = finetune.run(settings(cohort, pretrained, tuned))
    assert content(tuned, WEIGHTS, METRICS, SCORES) == before
    assert report.scores is not None
    assert any("the model works with 7 mm" in one for one in report.warnings)  # told again
    for changes, told in (
        ({"labels": 1}, "other content of scans"),
        ({"start": "scratch"}, "start: "),
        ({"structures": {"liver": 1}}, "structures: "),
        ({"partial": True}, "partial: "),
    ):
        with pytest.raises(ConfigError, match=told):
            finetune.run(settings(cohort, pretrained, tuned, **changes))


def test_a_corrected_label_of_a_scan_kept_apart_is_scored_again(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    fit = {"steps": 1, "precision": "32-true"}
    before = finetune.run(settings(data, pretrained, tmp_path / "run", fit=fit)).scores
    assert before is not None
    (kept,) = before.cases
    label = read_label(data / "labelsTr" / f"{kept}.nii.gz")
    for voxels in (label.voxels == 2, label.voxels):  # wrong, and corrected again
        label.with_voxels(voxels.astype(np.uint8)).save(data / "labelsTr" / f"{kept}.nii.gz")
        found = finetune.run(settings(data, pretrained, tmp_path / "run", fit=fit)).scores
        fresh = finetune.run(settings(data, pretrained, tmp_path / f"{voxels.max()}", fit=fit))
        assert found == fresh.scores
        assert found is not None
        assert (found.cases == before.cases) == (voxels is label.voxels)


def test_another_ignore_label_makes_another_run(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Found: the run that had learned these voxels as background was taken for finished."""
    data = helpers.renamed(cohort, tmp_path / "data", lambda labels: labels.pop("gallbladder"))
    config = settings(data, pretrained, tmp_path / "run", fit={"steps": 1})
    finetune.run(config)
    helpers.rename(data, lambda labels: labels.update(ignore=STRUCTURES["gallbladder"]))
    with pytest.raises(ConfigError, match="other content of scans"):
        finetune.run(config)


def test_a_bad_label_of_a_scan_kept_apart_is_told_before_the_training(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    """Found: it was first opened after the training, which then ended without scores."""
    (kept,) = json.loads((tuned / "record.json").read_text())["validation"]
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    path = data / "labelsTr" / f"{kept}.nii.gz"
    whole, image = path.read_bytes(), nib.load(path)
    part = np.asarray(image.dataobj)[1:]
    config = settings(data, pretrained, tmp_path / "run", fit={"steps": 1})

    def refused(told: str) -> None:
        with pytest.raises(DataError, match=told) as caught:
            finetune.run(config)
        assert path.name in str(caught.value)
        assert not (tmp_path / "run").exists()

    path.write_bytes(whole[:200])
    refused("expected")
    nib.save(nib.Nifti1Image(part, image.affine), path)
    refused("found a grid of")
    path.write_bytes(whole)
    assert finetune.run(config).scores is not None


def test_the_best_weights_on_scans_kept_apart_are_kept_and_told(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    fit = {"steps": 6, "log_every": 1, "lr": 2e-2, "precision": "32-true"}
    config = settings(
        cohort, pretrained, tmp_path / "run", fit=fit, stopping={"every": 1, "patience": 2}
    )
    report = finetune.run(config)
    facts = checkpoint.read_facts(tmp_path / "run" / WEIGHTS, kind="weights")
    assert report.chosen is not None
    assert report.scores is not None
    step, dice = report.chosen.best
    assert facts["step"] == step
    assert dice == report.scores.mean  # scored as at the end, with the very weights
    assert dice == max(score for _, score in report.chosen.scored)
    assert f"the weights after {step} update" in report.summary()
    before = content(tmp_path / "run", WEIGHTS, METRICS, SCORES)
    again = finetune.run(config)  # finished, though perhaps with fewer updates
    assert content(tmp_path / "run", WEIGHTS, METRICS, SCORES) == before
    assert again.chosen == report.chosen
    with pytest.raises(ConfigError, match="stopping"):
        finetune.run(settings(cohort, pretrained, tmp_path / "run", fit=fit))
    with pytest.raises(ConfigError, match="no labelled scan that is held out"):
        finetune.run(config.model_copy(update={"validation": 0}))
    assert "stopping" not in checkpoint.read_facts(tuned / WEIGHTS, kind="weights")


def test_only_the_chosen_weights_move(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    first, _, _ = checkpoint.load(pretrained / WEIGHTS, kind="weights")
    down = ("trunk.stem", "trunk.down", "trunk.deep")
    for learn in ("full", "decoder", "head"):
        run = tuned
        if learn != "full":
            run = tmp_path / learn
            report = finetune.run(settings(cohort, pretrained, run, learn=learn))
            assert "trained." in report.summary()
        tensors, facts, _ = checkpoint.load(run / WEIGHTS, kind="weights")
        assert facts.get("learn", "full") == learn
        names = [name for name in first if name.startswith("trunk.")]
        moved = {
            name for name in names if not np.array_equal(first[name], tensors[f"trunk.{name}"])
        }
        below = {name for name in names if name.startswith(down)}
        assert bool(moved & below) == (learn == "full")
        assert bool(moved - below) == (learn != "head")
        assert tensors["out.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_a_killed_run_ends_with_the_same_bytes(
    cohort: Path, pretrained: Path, tmp_path: Path, seconds: float
) -> None:
    steps = {"steps": 30, "log_every": 1, "save_every": 3, "precision": "32-true"}
    whole = settings(cohort, pretrained, tmp_path / "whole", fit=steps)
    finetune.run(whole)
    killed = settings(cohort, pretrained, tmp_path / "killed", fit=steps)
    code = (
        "import sys; from mass3d.apps import finetune;"
        "finetune.run(finetune.FinetuneConfig.model_validate_json(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, killed.model_dump_json()])
    while not (tmp_path / "killed" / RESUME).exists():
        time.sleep(0.02)
        assert process.poll() is None
    time.sleep(seconds / 10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "killed" / RESUME).exists()
    finetune.run(killed)
    names = (WEIGHTS, METRICS, SCORES)
    assert content(tmp_path / "killed", *names) == content(tmp_path / "whole", *names)


def test_a_run_that_has_not_ended_is_told_by_whatever_uses_it(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    model, half = (shutil.copytree(run, tmp_path / run.parent.name) for run in (pretrained, tuned))
    for run in (model, half):
        shutil.copy(run / WEIGHTS, run / RESUME)  # what a run keeps until its end
    told = f"the run {half} has not ended: its weights are those after {STEPS} updates"
    scan = next((cohort / "imagesTs").iterdir())
    found = segment.run(
        segment.SegmentConfig(inputs=(scan,), model=half, output=tmp_path / "out", device="cpu")
    )
    assert f"Warning: {told}." in found.summary()
    told = f"the run {model} has not ended: its weights are those after 0 updates"
    other = finetune.run(settings(cohort, model, tmp_path / "other", fit={"steps": 1}))
    assert told in other.warnings
    seen = embed.run(
        embed.EmbedConfig(inputs=(scan,), model=model, output=tmp_path / "seen", device="cpu")
    )
    assert told in seen.warnings
    made = task.run(helpers.task_config(cohort, model, tmp_path / "x.task", "ct_000", tune=False))
    assert told in made.warnings


def test_from_scratch_the_same_crops_are_seen(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mass3d.transfer.finetuned import learn  # noqa: PLC0415

    seen: dict[str, list[Any]] = {}
    step = learn.label_step
    for start in ("pretrained", "scratch"):
        batches = seen.setdefault(start, [])

        def watched(
            model: Any, views: Any, context: Any, batches: list[Any] = batches, **settings: Any
        ) -> Any:
            batches.append((views.image.numpy().tobytes(), views.label.numpy().tobytes()))
            return step(model, views, context, **settings)

        monkeypatch.setattr(learn, "label_step", watched)
        finetune.run(settings(cohort, pretrained, tmp_path / start, start=start))
    assert len(seen["pretrained"]) == STEPS
    assert seen["pretrained"] == seen["scratch"]
    ours, theirs = (
        checkpoint.load(tmp_path / start / WEIGHTS, kind="weights")[0] for start in seen
    )
    assert ours.keys() == theirs.keys()
    assert not all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_scans_and_labels_may_be_given_one_by_one(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    names = ("mr_003", "ct_000")
    config = settings(
        cohort,
        pretrained,
        tmp_path / "run",
        images=[cohort / "imagesTr" / f"{name}_0000.nii.gz" for name in names],
        label_maps=[cohort / "labelsTr" / f"{name}.nii.gz" for name in names],
        labels="all",
        validation=None,
    )
    report = finetune.run(config)
    assert report.training == ("ct_000", "mr_003")
    assert report.scores is None
    assert report.structures == STRUCTURES


def test_a_structure_that_no_chosen_label_shows_is_told(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    report = finetune.run(
        settings(cohort, pretrained, tmp_path / "run", structures={"liver": 1, "spleen": 9})
    )
    first, second = report.warnings
    assert first == "spleen is in none of the labels and will not be found"
    assert "the model works with 7 mm" in second
    assert "spleen is in none" in report.summary()
    assert all(set(dice) == {"liver"} for dice in report.scores.cases.values())  # type: ignore[union-attr]


def test_values_that_dataset_json_does_not_name_are_told_and_are_background(
    cohort: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = helpers.renamed(cohort, tmp_path / "data", lambda labels: labels.pop("aorta"))
    report = finetune.run(settings(data, pretrained, tmp_path / "run", labels=1))
    assert len(report.warnings) == 2
    assert "does not name (3)" in report.warnings[0]
    assert report.structures == {"liver": 1, "kidneys": 2, "gallbladder": 4}
    again = settings(data, pretrained, tmp_path / "run", labels=1)
    assert finetune.run(again).warnings == report.warnings  # though nothing is read again
    old = json.loads((tmp_path / "run" / "record.json").read_text())
    del old["warnings"], old["faults"]
    (tmp_path / "run" / "record.json").write_text(json.dumps(old))
    assert finetune.run(again).warnings == ()  # of a run of an earlier version
    wanted = {"liver": 1}
    chosen = settings(data, pretrained, tmp_path / "other", labels=1, structures=wanted)
    assert not any("does not name" in told for told in finetune.run(chosen).warnings)


def test_bad_input_is_refused_before_anything_is_written(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    for label in (data / "labelsTr").iterdir():
        label.unlink()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"labels": 5}, ConfigError, "5 of 4 labelled scans, 1 of them kept apart"),
        ({"validation": 4, "labels": "all"}, ConfigError, "all of 4 labelled scans"),
        ({"images": [data]}, DataError, "no label of any of the 4 scans"),
        ({"label_maps": [tmp_path / "a", tmp_path / "b"]}, ConfigError, "1 images and 2 labels"),
        ({"model": tuned}, ModelError, "a finetuned model"),
        ({"model": tmp_path / "none"}, ModelError, "no file"),
        ({"views": {"crop_vox": (30, 32, 32)}}, ConfigError, "multiples of"),
        ({"resume": True}, ModelError, "no resume state"),
    ]
    for changes, kind, told in cases:
        with pytest.raises(kind, match=told):
            finetune.run(settings(cohort, pretrained, tmp_path / "run", **changes))
        assert not (tmp_path / "run" / WEIGHTS).exists()


@pytest.mark.parametrize("labels", ["0%x", "-3", 0, "some", 2.5, True, None])
def test_a_number_of_labels_is_a_number_a_share_or_all(labels: Any, tmp_path: Path) -> None:
    values = {"images": [tmp_path], "model": tmp_path, "output": tmp_path}
    with pytest.raises(ConfigError, match="a number of scans, a share such as 10%, or all"):
        build(finetune.FinetuneConfig, {**values, "labels": labels})


@pytest.mark.parametrize(("typed", "meant"), [("7", 7), (3, 3), ("12.5%", "12.5%"), ("all", "all")])
def test_labels_may_be_typed(typed: Any, meant: Any, tmp_path: Path) -> None:
    values = {"images": [tmp_path], "model": tmp_path, "output": tmp_path}
    assert build(finetune.FinetuneConfig, {**values, "labels": typed}).labels == meant


def test_what_is_not_given_of_the_optimisation_is_that_of_finetuning(tmp_path: Path) -> None:
    values = {"images": [tmp_path], "model": tmp_path, "output": tmp_path}
    found = build(finetune.FinetuneConfig, {**values, "fit": {"steps": 9}}).fit
    chosen = (found.steps, found.batch_size, found.optimizer, found.lr, found.ema_decay)
    assert chosen == (9, 2, "muon", 1e-2, 0.99)


# --- regions -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def regions(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort with nested regions in its dataset.json."""
    data = shutil.copytree(cohort, tmp_path_factory.mktemp("regions") / "data")
    table = json.loads((data / "dataset.json").read_text())
    table["labels"] = {"background": 0, "organs": [1, 2, 3, 4], "soft": [1, 4], "liver": 1}
    table["regions_class_order"] = [2, 4, 1]
    (data / "dataset.json").write_text(json.dumps(table))
    return data


def test_regions_are_learned_written_by_their_order_and_scored(
    regions: Path, pretrained: Path, tmp_path: Path
) -> None:
    fit = {"steps": 60, "precision": "32-true"}
    run, out = tmp_path / "run", tmp_path / "out"
    report = finetune.run(settings(regions, pretrained, run, labels="all", fit=fit))
    assert report.structures == {"organs": 2, "soft": 4, "liver": 1}
    facts = checkpoint.read_facts(run / WEIGHTS, kind="weights")
    assert facts["regions"] == [[1, 2, 3, 4], [1, 4], [1]]
    found = segment.run(
        segment.SegmentConfig(
            inputs=(regions / "imagesTr",), model=run, output=out, device="cpu", probabilities=True
        )
    )
    members = {"organs": (1, 2, 3, 4), "soft": (1, 4), "liver": (1,)}
    assert report.scores is not None
    ((case, scores),) = report.scores.cases.items()
    label = read_label(out / f"{case}.nii.gz")
    truth = read_label(regions / "labelsTr" / f"{case}.nii.gz").voxels
    assert set(np.unique(label.voxels)) <= {0, 1, 2, 4}
    for name, some in members.items():
        mine, truly = np.isin(label.voxels, some), np.isin(truth, some)
        dice = 2 * int((mine & truly).sum()) / int(mine.sum() + truly.sum())
        assert scores[name] == pytest.approx(dice)
        ml = int(mine.sum()) * label.grid.voxel_ml
        assert found.volumes_ml[case][name] == pytest.approx(ml, abs=1e-3)
        shares = nib.load(out / "probabilities" / case / f"{name}.nii.gz")
        above = np.asanyarray(shares.dataobj) > 0.51
        assert mine.sum() >= above.sum() > 0
    assert scores["organs"] > 0.4
    evaluated = evaluate.run(  # the record of segment says what its values mean
        evaluate.EvaluateConfig(
            predictions=out, labels=regions / "labelsTr", output=tmp_path / "scores"
        )
    )
    assert evaluated.dice[case] == pytest.approx(scores)
    bare = shutil.copytree(regions / "labelsTr", tmp_path / "bare")
    alone = evaluate.EvaluateConfig(predictions=out, labels=bare, output=tmp_path / "scores2")
    assert evaluate.run(alone).dice[case] == pytest.approx(scores)


def test_a_layout_of_regions_that_is_not_complete_is_refused(
    regions: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(regions, tmp_path / "data")
    table = json.loads((data / "dataset.json").read_text())
    del table["regions_class_order"]
    (data / "dataset.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="regions_class_order is None"):
        finetune.run(settings(data, pretrained, tmp_path / "run"))
    wanted = settings(data, pretrained, tmp_path / "run", structures={"soft": [1, 4], "rest": 2})
    assert finetune.run(wanted).structures == {"soft": 1, "rest": 2}  # says it all by itself


# --- segmenting with it --------------------------------------------------------------------------


def test_segment_needs_no_task_and_writes_on_the_grid_of_each_scan(
    cohort: Path, tuned: Path, tmp_path: Path
) -> None:
    config = segment.SegmentConfig(
        inputs=(cohort / "imagesTs",), model=tuned, output=tmp_path / "out", device="cpu"
    )
    report = segment.run(config)
    assert report.ok
    assert report.not_aligned == ()
    for source in sorted((cohort / "imagesTs").iterdir()):
        name = source.name.replace("_0000.nii.gz", "")
        image, result = nib.load(source), nib.load(tmp_path / "out" / f"{name}.nii.gz")
        assert result.shape == image.shape
        np.testing.assert_array_equal(result.affine, image.affine)
        assert report.volumes_ml[name].keys() == STRUCTURES.keys()
    index = json.loads((tmp_path / "out" / "cases.json").read_text())
    assert {entry["method"] for entry in index["cases"].values()} == {"finetuned"}
    before = content(tmp_path / "out", f"{name}.nii.gz")
    assert segment.run(config).volumes_ml == report.volumes_ml
    assert content(tmp_path / "out", f"{name}.nii.gz") == before


def test_a_scan_unlike_all_that_was_learned_from_is_told(
    cohort: Path, tuned: Path, tmp_path: Path
) -> None:
    image = nib.load(next((cohort / "imagesTs").iterdir()))
    affine = image.affine @ np.diag([4, 4, 4, 1])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "large.nii.gz")
    config = segment.SegmentConfig(
        inputs=(tmp_path / "large.nii.gz",), model=tuned, output=tmp_path / "out", device="cpu"
    )
    told = segment.run(config).warnings
    assert any("mm from foot to head, and the model was made on" in warning for warning in told)
    (tmp_path / "bare").mkdir()
    shutil.copy(tuned / WEIGHTS, tmp_path / "bare")  # without the record beside it
    alone = config.model_copy(
        update={"model": tmp_path / "bare" / WEIGHTS, "output": tmp_path / "out2"}
    )
    assert not any("was made on" in warning for warning in segment.run(alone).warnings)


def test_in_python_the_same_comes_out_without_files(
    cohort: Path, tuned: Path, tmp_path: Path
) -> None:
    segment.run(
        segment.SegmentConfig(inputs=(cohort / "imagesTs",), model=tuned, output=tmp_path / "out")
    )
    model = mass3d.load(tuned, device="cpu")
    for source in sorted((cohort / "imagesTs").iterdir()):
        found = model.segment(source)
        written = find_label(tmp_path / "out", source.name.replace("_0000.nii.gz", ""))
        assert written is not None
        np.testing.assert_array_equal(found.voxels, read_label(written).voxels)


def test_what_knows_its_structures_and_what_does_not_are_told_apart(
    cohort: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    def asked(**given: Any) -> segment.SegmentConfig:
        return segment.SegmentConfig(
            inputs=(cohort / "imagesTs",), output=tmp_path / "out", device="cpu", **given
        )

    with pytest.raises(ConfigError, match="neither a task nor a model"):
        segment.run(asked())
    with pytest.raises(ModelError, match="a pretrained model, which knows no structures"):
        segment.run(asked(model=pretrained))
    with pytest.raises(ConfigError, match="a prior without a task"):
        segment.run(asked(model=tuned, prior=cohort / "labelsTs"))
    scan = mass3d.read(next((cohort / "imagesTs").iterdir()))
    with pytest.raises(ConfigError, match="no task for a pretrained model"):
        mass3d.load(pretrained, device="cpu").segment(scan)
    with pytest.raises(ModelError, match="a finetuned model"):
        mass3d.load(tuned, device="cpu").task([scan], [scan], {"liver": 1})
    assert not (tmp_path / "out").exists()
