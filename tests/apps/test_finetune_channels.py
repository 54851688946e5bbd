"""Finetuning and segmenting with several channels of a case, from files to label maps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import mass3d
from helpers import untrained_run
from mass3d import cli
from mass3d.apps import curve, export, finetune, segment
from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.io.read import read_label
from mass3d.io.write import write_file_order
from mass3d.pages.card import CARD
from mass3d.pages.shown import facts_of
from mass3d.training import checkpoint
from mass3d.training.run_files import METRICS, WEIGHTS
from mass3d.transfer.finetuned import learn
from mass3d.transfer.finetuned.scores import SCORES

STRUCTURES = {"ball": 1, "box": 2}
FIT = {"steps": 3, "log_every": 1, "save_every": 2, "precision": "32-true"}
EDGE_MM = 4.0


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    return untrained_run(run, crop=16, spacing_mm=EDGE_MM)


def write_case(folder: Path, part: str, name: str, seed: int) -> None:
    """T1 shows a ball, FLAIR a box, on another grid; the label lies on the grid of T1."""
    rng = np.random.default_rng(seed)
    shape, first = (18, 17, 19), np.diag([EDGE_MM, EDGE_MM, EDGE_MM, 1.0])
    finer = np.diag([3.0, 3.0, 5.0, 1.0])
    finer[:3, 3] = (1.0, 0.5, -0.5)
    ball, box = rng.uniform(24, 48, (2, 3))

    def drawn(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.indices(shape).transpose(1, 2, 3, 0) @ affine[:3, :3].T + affine[:3, 3]
        return np.linalg.norm(x - ball, axis=-1) < 14, abs(x - box).max(-1) < 11

    def image(shown: np.ndarray) -> np.ndarray:
        return (rng.normal(100, 15, shown.shape) + 150 * shown).astype(np.float32)

    in_t1 = drawn(shape, first)
    label = np.where(in_t1[1], 2, np.where(in_t1[0], 1, 0)).astype(np.uint8)
    images = folder / f"images{part}"
    write_file_order(images / f"{name}_0000.nii.gz", image(in_t1[0]), first)
    in_flair = drawn((24, 23, 15), finer)
    write_file_order(images / f"{name}_0001.nii.gz", image(in_flair[1]), finer)
    write_file_order(folder / f"labels{part}" / f"{name}.nii.gz", label, first)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of two channels, two of them for tests."""
    folder = tmp_path_factory.mktemp("data") / "Dataset005_Two"
    for number in range(6):
        write_case(folder, "Tr" if number < 4 else "Ts", f"p{number}", number)
    table = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, **STRUCTURES},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(table))
    return folder


def settings(data: Path, model: Path, output: Path, **changes: Any) -> finetune.FinetuneConfig:
    values = {
        "images": [data],
        "model": model,
        "output": output,
        "validation": 1,
        "device": "cpu",
        "fit": FIT,
    }
    return finetune.FinetuneConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def tuned(dataset: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finetuned run of a few steps with both channels."""
    output = tmp_path_factory.mktemp("tuned") / "run"
    report = finetune.run(settings(dataset, pretrained, output))
    assert report.ok
    assert "3 labelled scans (T1 and FLAIR)" in report.summary()
    return output


def content(run: Path, *names: str) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in names}


def test_what_only_the_second_channel_shows_is_learned_with_it_alone(
    dataset: Path, pretrained: Path, tmp_path: Path
) -> None:
    fit = {"steps": 60, "precision": "32-true"}
    dice = {}
    for channels in ((), ("T1",)):
        config = settings(
            dataset, pretrained, tmp_path / f"run{len(channels)}", channels=channels, fit=fit
        )
        scores = finetune.run(config).scores
        assert scores is not None
        (dice[channels],) = scores.cases.values()
    assert dice[()]["box"] > 0.6
    assert dice["T1",]["box"] < 0.3
    assert dice["T1",]["ball"] > 0.5


def test_a_run_tells_its_channels(dataset: Path, pretrained: Path, tuned: Path) -> None:
    assert json.loads((tuned / "record.json").read_text())["channels"] == ["T1", "FLAIR"]
    facts = checkpoint.read_facts(tuned / WEIGHTS, kind="weights")
    assert facts["channels"] == [[0, "T1"], [1, "FLAIR"]]
    assert facts_of(tuned)["channels"] == ["T1", "FLAIR"]
    before = content(tuned, WEIGHTS, METRICS, SCORES)
    finetune.run(settings(dataset, pretrained, tuned, channels=("0", "FLAIR")))  # the very same
    assert content(tuned, WEIGHTS, METRICS, SCORES) == before
    for channels in (("FLAIR",), ("FLAIR", "T1")):
        with pytest.raises(ConfigError, match="channels: "):
            finetune.run(settings(dataset, pretrained, tuned, channels=channels))


def test_one_channel_of_several_is_learned_as_if_there_were_no_other(
    dataset: Path, pretrained: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(dataset, tmp_path / "data")
    for path in alone.glob("images*/*_0001.nii.gz"):
        path.unlink()
    table = json.loads((alone / "dataset.json").read_text()) | {"channel_names": {"0": "T1"}}
    (alone / "dataset.json").write_text(json.dumps(table))
    finetune.run(settings(alone, pretrained, tmp_path / "alone"))
    finetune.run(settings(dataset, pretrained, tmp_path / "chosen", channels=["T1"]))
    ours, theirs = (
        checkpoint.load(tmp_path / run / WEIGHTS, kind="weights") for run in ("alone", "chosen")
    )
    assert all(np.array_equal(ours[0][name], tensor) for name, tensor in theirs[0].items())
    assert "channels" not in ours[1]
    assert {**ours[1], "channels": [[0, "T1"]]} == theirs[1]
    assert content(tmp_path / "alone", METRICS) == content(tmp_path / "chosen", METRICS)


def test_an_interrupted_run_ends_with_the_same_bytes(
    dataset: Path, pretrained: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copytree(dataset, tmp_path / "elsewhere")
    config, step, done = settings(moved, pretrained, tmp_path / "run"), learn.label_step, []

    def breaking(*given: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) == 3:
            raise RuntimeError("the power went")
        return step(*given, **named)

    monkeypatch.setattr(learn, "label_step", breaking)
    with pytest.raises(RuntimeError, match="the power went"):
        finetune.run(config)
    finetune.run(config)
    assert len(done) == 4  # three steps, and that which failed
    names = (WEIGHTS, METRICS, SCORES)
    assert content(tmp_path / "run", *names) == content(tuned, *names)


def test_a_case_without_a_channel_is_refused_before_anything_is_written(
    dataset: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    (data / "imagesTr" / "p2_0001.nii.gz").unlink()
    with pytest.raises(DataError, match="expected the channel FLAIR of the case p2"):
        finetune.run(settings(data, pretrained, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_weights_are_chosen_by_cases_of_all_channels(
    dataset: Path, pretrained: Path, tmp_path: Path
) -> None:
    config = settings(dataset, pretrained, tmp_path / "run", stopping={"every": 2})
    report = finetune.run(config)
    assert report.chosen is not None
    assert report.scores is not None
    assert report.chosen.best[1] == report.scores.mean


# --- use ---------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_whole_way_on_the_command_line(
    dataset: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("--set", "validation=0", "--set", "channels=FLAIR,T1")
    given = ("-i", dataset, "-m", pretrained, "-o", tmp_path / "run", "--steps", "2")
    # the label lies on the grid of T1: it is told, not guessed
    assert run("finetune", *given, *sets, "--device", "cpu") == 1
    assert "expected the grid of" in capsys.readouterr().err
    sets = ("--set", "validation=0", "--set", "channels=T1,FLAIR")
    assert run("finetune", *given, *sets, "--device", "cpu") == 0
    found = tmp_path / "found"
    words = ("-m", tmp_path / "run", "-o", found, "--device", "cpu")
    assert run("segment", dataset / "imagesTs", *words) == 0
    assert sorted(path.name for path in found.glob("*.nii.gz")) == ["p4.nii.gz", "p5.nii.gz"]
    for name in ("p4", "p5"):
        ours = nib.load(found / f"{name}.nii.gz")
        scan = nib.load(dataset / "imagesTs" / f"{name}_0000.nii.gz")
        assert ours.shape == scan.shape
        np.testing.assert_allclose(ours.affine, scan.affine)
    assert json.loads((found / "record.json").read_text())["channels"] == ["T1", "FLAIR"]
    assert run("evaluate", found, dataset / "labelsTs", "-o", tmp_path / "scores") == 0


def segmented(inputs: Path, model: Path, output: Path) -> segment.SegmentReport:
    return segment.run(
        segment.SegmentConfig(inputs=(inputs,), model=model, output=output, device="cpu")
    )


def test_files_in_memory_and_folders_without_dataset_json_say_the_same(
    dataset: Path, tuned: Path, tmp_path: Path
) -> None:
    scans = shutil.copytree(dataset / "imagesTs", tmp_path / "new")
    assert segmented(scans, tuned, tmp_path / "found").ok
    model = mass3d.load(tuned, device="cpu")
    paths = [scans / f"p4_000{number}.nii.gz" for number in range(2)]
    found = model.segment(paths).voxels
    np.testing.assert_array_equal(found, read_label(tmp_path / "found" / "p4.nii.gz").voxels)
    swapped = model.segment([nib.load(path) for path in paths[::-1]])
    assert swapped.voxels.shape != found.shape  # the grid of what is given first
    with pytest.raises(ConfigError, match="1 scan; expected one for each of 2 channels"):
        model.segment(paths[0])
    # a second channel that has changed changes what is found, and is not taken for done
    write_file_order(
        paths[1], np.indices((24, 23, 15))[0].astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0])
    )
    before = (tmp_path / "found" / "p5.nii.gz").stat().st_mtime_ns
    segmented(scans, tuned, tmp_path / "found")
    assert (read_label(tmp_path / "found" / "p4.nii.gz").voxels != found).any()
    assert (tmp_path / "found" / "p5.nii.gz").stat().st_mtime_ns == before


def test_a_case_without_a_channel_is_a_fault_and_the_others_go_on(
    dataset: Path, tuned: Path, tmp_path: Path
) -> None:
    scans = shutil.copytree(dataset / "imagesTs", tmp_path / "new")
    (scans / "p4_0000.nii.gz").unlink()
    report = segmented(scans, tuned, tmp_path / "found")
    (fault,) = report.faults
    assert fault.where == "p4"
    assert "p4_0000.nii.gz" in fault.message
    assert "the channel T1 of the case p4" in fault.message
    assert set(report.volumes_ml) == {"p5"}
    for path in scans.iterdir():
        path.rename(path.with_name(path.name.replace("_000", "-")))
    with pytest.raises(DataError, match="no scan that is a channel of a case"):
        segmented(scans, tuned, tmp_path / "none")


def test_what_cannot_take_channels_refuses_them(
    dataset: Path, pretrained: Path, tuned: Path, tmp_path: Path
) -> None:
    segmented(dataset / "imagesTs", tuned, tmp_path / "found")
    raw = {"to": "nnunet-raw", "output": tmp_path / "Dataset501_X"}
    with pytest.raises(ConfigError, match="results of a model that sees channels"):
        export.run(export.ExportConfig.model_validate({"model": tmp_path / "found", **raw}))
    onnx = {"to": "onnx", "output": tmp_path / "onnx", "model": tuned}
    with pytest.raises(ModelError, match="a network of 2 channels"):
        export.run(export.ExportConfig.model_validate(onnx))
    curves = {"dataset": dataset, "model": pretrained, "output": tmp_path / "curve"}
    with pytest.raises(ConfigError, match="task, and cases of 2 channels"):
        curve.run(curve.CurveConfig.model_validate({**curves, "against": ["task"]}))


def test_a_copy_for_others_segments_the_same(dataset: Path, tuned: Path, tmp_path: Path) -> None:
    given = {"model": tuned, "output": tmp_path / "shared"}
    export.run(export.ExportConfig.model_validate(given))
    assert "the channels of each case: T1, FLAIR." in (tmp_path / "shared" / CARD).read_text()
    for model in ("shared", tuned):
        segmented(dataset / "imagesTs", tmp_path / model, tmp_path / f"by-{Path(model).name}")
    ours, theirs = (content(tmp_path / f"by-{name}", "p4.nii.gz") for name in ("shared", "run"))
    assert ours == theirs


def test_a_curve_learns_from_all_channels(dataset: Path, pretrained: Path, tmp_path: Path) -> None:
    values = {
        "dataset": dataset,
        "model": pretrained,
        "output": tmp_path / "curve",
        "labels": "all",
        "draws": 1,
        "device": "cpu",
        "fit": FIT,
        "against": [],
    }
    assert curve.run(curve.CurveConfig.model_validate(values)).ok
    run = tmp_path / "curve" / "run" / "4-0"
    facts = checkpoint.read_facts(run / WEIGHTS, kind="weights")
    assert facts["channels"] == [[0, "T1"], [1, "FLAIR"]]
    assert set(json.loads((run / SCORES).read_text())["cases"]) == {"p4", "p5"}
    chosen = {**values, "output": tmp_path / "one", "channels": ["T1"]}
    assert curve.run(curve.CurveConfig.model_validate(chosen)).ok
