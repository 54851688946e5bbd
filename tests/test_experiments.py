"""Scripts of the experiments that others are compared with do what they say, on phantoms."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mass3d.files import run_record, write_json
from mass3d.model.presets import PRESETS
from mass3d.phantom import write_phantom_cohort
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.frozen.probing.labels import Target
from mass3d.transfer.frozen.probing.probe import Probed, Said
from mass3d.transfer.frozen.probing.results import as_csv
from mass3d.volume.volume import Volume

FOLDER = Path(__file__).resolve().parent.parent / "experiments"
METHODS = ["copy", "affine", "demons", "deformable", "task"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script as a module; like a script it finds what lies beside it."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def floors(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("floors")


def test_an_array_lies_in_the_world_of_itk_where_its_grid_says(floors: ModuleType) -> None:
    affine = np.array([[0, 2.0, 0, 5], [-3.0, 0, 0, 6], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    volume = Volume.from_file_order(np.arange(24, dtype=np.float32).reshape(2, 3, 4), affine)
    image = floors.as_itk(volume.voxels, volume.grid)
    for index in ((0, 0, 0), (3, 1, 2)):
        d, h, w = index
        place = (volume.grid.affine @ (d, h, w, 1))[:3]
        assert image.TransformIndexToPhysicalPoint((w, h, d)) == pytest.approx(place)
        assert image[w, h, d] == volume.voxels[index]


@pytest.mark.slow
def test_floors_are_measured_once_and_told_in_a_table(
    floors: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_phantom_cohort(tmp_path / "phantoms", cases=2, test_cases=2, seed=0)
    words = [str(data), "-o", str(tmp_path / "out"), "--references", "1", "--spacing", "4"]
    words += ["--methods", *METHODS]
    monkeypatch.setattr(sys, "argv", ["floors.py", *words])
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), torch.get_num_threads()
    try:
        floors.main()
        lines = (tmp_path / "out" / "floors.jsonl").read_text()
        floors.main()
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads[0])
        torch.set_num_threads(threads[1])
    assert (tmp_path / "out" / "floors.jsonl").read_text() == lines
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["method"] for row in rows] == METHODS * 2
    mean = {row["method"]: np.mean(list(row["dice"].values())) for row in rows}
    assert mean["deformable"] > mean["affine"] > mean["copy"] > 0
    table = (tmp_path / "out" / "floors.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in table[2:]] == METHODS


def test_the_gain_of_pretraining_is_paired_by_draw_and_scan(
    script: Callable[[str], ModuleType],
) -> None:
    module = script("finetune")
    rows = [
        module.Row("set", 1, draw, start, 600, case, 9.0, 0.5, dice)
        for draw, start, case, dice in (
            (0, "pretrained", "a", {"x": 0.8, "y": 0.5}),
            (1, "pretrained", "a", {"x": 0.6, "y": 0.5}),
            (0, "pretrained", "b", {"x": 0.9}),
            (1, "pretrained", "b", {"x": 0.9}),
            (0, "scratch", "a", {"x": 0.5, "y": 0.2}),
            (1, "scratch", "a", {"x": 0.5, "y": 0.4}),
            (0, "scratch", "b", {"x": 0.7}),
        )
    ]
    # draw 1 of scan b has one start only and is left out of both
    gain = module.gain(module.complete(module.parts_of(rows)))
    assert gain.mean == pytest.approx(((0.2 + 0.2) / 2 + 0.2) / 2)
    assert module.interval(rows[:4]).mean == pytest.approx(((0.7 + 0.9) / 2 + 0.5) / 2)
    lines = module.table(rows).splitlines()
    assert [line.split(" | ")[3] for line in lines[2:]] == ["pretrained", "scratch", "**gain**"]
    assert "**+0.200**" in lines[4]


@pytest.mark.slow
def test_finetuning_is_measured_once_from_both_starts(
    script: Callable[[str], ModuleType], trained: Path, cohort: Path, tmp_path: Path
) -> None:
    module = script("finetune")
    words = [str(trained), str(cohort), "-o", str(tmp_path), "--labels", "1", "--draws", "1"]
    words += ["--steps", "2", "--cases", "1", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["finetune.py", *words])
        module.main()
        lines = (tmp_path / "finetune.jsonl").read_text()
        module.main()
    assert (tmp_path / "finetune.jsonl").read_text() == lines
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [(row["start"], row["case"]) for row in rows] == [
        ("pretrained", "ct_test_000"),
        ("scratch", "ct_test_000"),
    ]
    assert all(0 <= dice <= 1 for row in rows for dice in row["dice"].values())


def test_cubes_hold_the_lesion_or_none_of_it(script: Callable[[str], ModuleType]) -> None:
    rng = np.random.default_rng(0)
    label = np.zeros((40, 30, 20), bool)
    label[5:9, 5:9, 5:9] = True
    image = rng.normal(100, 5, label.shape).astype(np.float32)
    scan = Volume.from_array(image, spacing_mm=(1.0, 1.0, 2.0))
    body = np.ones_like(label)
    found = list(script("probe").cubes(rng, scan, label, body, each=4, edge_mm=12))
    assert [kind for kind, _ in found] == ["yes"] * 4 + ["no"] * 4
    for kind, box in found:
        assert image[box].shape == (12, 12, 6)
        assert label[box].any() == (kind == "yes")
    everywhere = list(script("probe").cubes(rng, scan, label | True, body, each=2, edge_mm=12))
    assert [kind for kind, _ in everywhere] == ["yes", "yes"]


@pytest.mark.slow
@pytest.mark.parametrize("crops", [True, False])
def test_frozen_features_are_asked_of_scans_and_of_cubes(
    script: Callable[[str], ModuleType], trained: Path, tmp_path: Path, *, crops: bool
) -> None:
    module = script("probe")
    data = write_phantom_cohort(tmp_path / "phantoms", cases=8, test_cases=2, seed=0)
    names = [path.name.removesuffix("_0000.nii.gz") for path in data.glob("images*/*")]
    rows = "".join(f"{name},{name[:2]}\n" for name in names)
    (data / "participants.csv").write_text("case,kind\n" + rows)
    words = [
        str(trained),
        str(data),
        "-o",
        str(tmp_path / "out"),
        "--seeds",
        "1",
        "--device",
        "cpu",
    ]
    cut = ["--crops", "1", "--edge-mm", "60", "--scratch", "1", "2"]
    words += cut if crops else ["--target", "kind"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["probe.py", *words])
        module.main()
    lines = (tmp_path / "out" / "probe.md").read_text().splitlines()
    assert len(lines) == 2 + 10 + 2 * crops
    target = "lesion" if crops else "kind"
    assert lines[0].startswith(f"| {target} | features | head | auroc | auprc | balanced_acc")
    assert lines[2].startswith(f"| {target} | pretrained | attentive | ")
    if crops:
        assert [line.split(" | ")[1:3] for line in lines[8:10]] == [
            ["from scratch, 1 update", "linear"],
            ["from scratch, 2 updates", "linear"],
        ]
        assert all(
            re.fullmatch(r"-?\d\.\d{3} \[.*\] \|", line.split(" | ")[6]) for line in lines[8:10]
        )


def test_a_training_from_scratch_is_only_asked_of_cubes(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "data", "-o", str(tmp_path), "--target", "sex", "--scratch", "10"]
    monkeypatch.setattr(sys, "argv", ["probe.py", *words])
    with pytest.raises(SystemExit):
        script("probe").main()


@pytest.mark.slow
def test_a_classifier_from_scratch_learns_what_is_bright(
    script: Callable[[str], ModuleType],
) -> None:
    module = script("scratch")
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (24, 1, 8, 8, 8)).astype(np.float32)
    truth = np.arange(24) % 2
    images[truth == 1, :, 2:6, 2:6, 2:6] += 3
    bodies = torch.ones(24, 1, 8, 8, 8)
    cubes = module.Cubes(torch.from_numpy(images), bodies)
    seen, asked = cubes.take(torch.arange(16)), cubes.take(torch.arange(16, 24))
    first, again = (
        module.teach(PRESETS["tiny"], seen, truth[:16], asked, classes=2, updates=30, seed=seed)
        for seed in (1, 1)
    )
    assert np.array_equal(first.answers, again.answers)
    assert first.loss == again.loss < 0.3
    assert np.array_equal(first.answers.argmax(axis=1), truth[16:])
    assert first.answers.sum(axis=1) == pytest.approx(1)


def test_answers_of_a_probe_are_read_back_by_fold_and_patient(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    target = Target("lesion", "classes", ("no", "yes"), ("a", "b"), np.array([0.0, 1.0]), ())
    answers, balanced = np.array([[[0.75, 0.25], [0.6, 0.4]], [[0.6, 0.4], [0.4, 0.6]]])
    said = Said("pretrained", "linear", answers, balanced, ())
    other = Said("size", "linear", np.full((2, 2), 0.5), np.full((2, 2), 0.5), ())
    probed = Probed(target, np.array(["p", "q"]), np.array([2, 1]), (said, other))
    (tmp_path / "predictions.csv").write_text(as_csv([probed]))
    found = script("scratch").read_probed(tmp_path / "predictions.csv")
    assert found.target.classes == target.classes
    assert found.target.cases == target.cases
    assert (found.target.truth == target.truth).all()
    assert found.patients.tolist() == ["p", "q"]
    assert found.fold.tolist() == [2, 1]
    (only,) = found.said
    assert (only.answers == said.answers).all()
    assert (only.balanced == said.balanced).all()
    assert only.predicted.tolist() == [0, 1]


def test_objectives_are_compared_by_draw_and_scan(script: Callable[[str], ModuleType]) -> None:
    module = script("objectives")
    names = ("masks", "autoencoder", "scratch")
    table = np.empty((3, 1, 2, 2, 1))  # starts, labels, draws, scans, structures
    table[:] = np.reshape([0.7, 0.6, 0.5], (3, 1, 1, 1, 1)) + np.reshape([0, 0.1], (2, 1, 1))
    table[1, :, 1] = np.nan  # its second draw was not scored
    curves = Curves(names, (1,), ("a", "b"), ("x",), table, 0)
    costs = {"masks": {"steps": 80, "cpu_s": 600.0}}
    lines = [line.split(" | ") for line in module.table("set", curves, costs).splitlines()[2:]]
    assert [line[2] for line in lines] == ["masks", "autoencoder", "none"]
    assert lines[0][3:7] == ["80", "10.0", "2", "2"]
    assert lines[0][7] == "0.750 [0.700, 0.800]"
    assert [line[9] for line in lines[:2]] == ["+0.200 [+0.200, +0.200]", "+0.100 [+0.100, +0.100]"]
    assert lines[1][10] == "+0.100 [+0.100, +0.100] |"
    assert lines[2][9] == lines[0][10].removesuffix(" |") == ""


@pytest.mark.slow
def test_objectives_are_pretrained_for_equal_time_and_measured_once(
    script: Callable[[str], ModuleType], cohort: Path, tmp_path: Path
) -> None:
    module = script("objectives")
    words = [
        str(cohort),
        "-o",
        str(tmp_path),
        "--spacing",
        "7",
        "--minutes",
        "0.05",
        "--labels",
        "1",
    ]
    words += ["--draws", "1", "--steps", "2", "--objectives", "autoencoder"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["objectives.py", *words])
        module.main()
        table = (tmp_path / "objectives.md").read_text()
        module.main()
    assert (tmp_path / "objectives.md").read_text() == table
    assert [line.split(" | ")[2] for line in table.splitlines()[2:]] == ["autoencoder", "none"]
    cost = json.loads((tmp_path / "measured" / "autoencoder" / "cost.json").read_text())
    assert cost["steps"] >= 1
    assert cost["step_s"] > 0


def test_a_mixed_run_is_compared_with_the_run_of_each_set(
    script: Callable[[str], ModuleType],
) -> None:
    module = script("mixing")
    rows = [
        module.Row(data, kind, 9, f"r{number}", 2.0, {"a": {"x": dice}, "b": {"x": dice + 0.1}}, {})
        for data, kind, dice in (("t1", "mixed", 0.4), ("t1", "alone", 0.6), ("ct", "mixed", 0.1))
        for number in range(2)
    ]
    lines = [line.split(" | ") for line in module.table(rows).splitlines()[2:]]
    assert [(line[0], line[1], line[6]) for line in lines] == [
        ("| ct", "all sets, the steps of one", " |"),
        ("| t1", "this set alone", " |"),
        ("| t1", "all sets, the steps of one", "-0.200 [-0.200, -0.200] |"),
    ]
    assert lines[1][4] == "0.650"


def test_curves_of_labels_that_were_measured_in_parts_are_joined(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def curve(name: str, seed: int, lines: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_json(folder / "record.json", run_record("curve", {"seed": seed}))
        (folder / "curve.csv").write_text("start,labels,draw,case,structure,dice\n" + lines)
        return folder

    module, out = script("labels"), tmp_path / "set"
    first = curve(
        "first", 0, "run,1,0,b,x,0.5\nrun,1,0,b,y,0.7\nrun,1,0,a,x,0.6\nmae,1,0,a,x,0.4\n"
    )
    second = curve("second", 2, "run,5,0,a,x,0.8\nrun,1,0,a,x,0.8\n")
    for folders in ([first], [second], []):
        monkeypatch.setattr(sys, "argv", ["labels.py", *map(str, folders), "-o", str(out)])
        module.main()
    assert (tmp_path / "set.csv").read_text().splitlines() == [
        "start,labels,draw,case,x,y",
        "run,1,0,a,0.600,",
        "run,1,0,b,0.500,0.700",
        "run,1,2,a,0.800,",
        "run,5,2,a,0.800,",
        "mae,1,0,a,0.400,",
    ]
    told = capsys.readouterr().out
    assert "| labels | draws | run | mae |" in told
    assert "| 1 | 1 to 2 | 0.667 [0.600, 0.800] | 0.400 |" in told
    assert "| 5 | 1 | 0.800 |  |" in told
    assert "- With 1 label too little was scored to tell run from mae: +0.200." in told
    assert (tmp_path / "set.svg").read_text().count("<polyline") == 2


def test_agreement_is_correlated_with_dice(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    agreed, dice = ["case,structure,ml,agreement"], ["case,structure,dice"]
    for number in range(8):
        agreed += [f"c{number},liver,1.0,{number / 10}", f"c{number},rare,1.0,"]
        dice += [f"c{number},liver,{(number / 10) ** 2}", f"c{number},rare,0.5"]
    (tmp_path / "volumes.csv").write_text("\n".join(agreed))
    (tmp_path / "cases.csv").write_text("\n".join(dice))
    told = script("agreement").main(tmp_path, tmp_path)
    assert told == {"": pytest.approx(1), "liver": pytest.approx(1)}


@pytest.mark.slow
def test_a_cohort_that_was_killed_ends_with_the_same_bytes(
    trained: Path, cohort: Path, tmp_path: Path
) -> None:
    words = [FOLDER / "cohort.py", cohort, "-m", trained, "-o", tmp_path, "--kills", "0.2"]
    command = [sys.executable, *map(str, words), "--structures", "liver", "kidneys"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    told = ended.stdout
    assert ended.returncode == 0, told + ended.stderr
    assert "5 scans undisturbed" in told
    assert re.search("killed with [1-4] scans done", told)  # a busy machine kills late
    assert " 0 of them different or missing" in told
