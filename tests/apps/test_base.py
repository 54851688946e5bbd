"""The released network in every step a user takes: published weights, and a run of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mass3d
from helpers import pretrain_config
from mass3d.apps import embed, finetune, pretrain, probe, segment, show, task
from mass3d.errors import ConfigError, ModelError
from mass3d.io.read import read_label
from mass3d.model.iris import IrisNet
from mass3d.model.released import LEFT_OUT, read_released
from mass3d.training import checkpoint
from mass3d.training.run_files import METRICS, WEIGHTS
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import load_task
from mass3d.transfer.trained import load_trained
from mass3d.volume.volume import Volume
from oracles.iris import made_inputs, made_state, released_shapes

CHANNELS = (2, 4, 32, 32, 32)
EDGE = 32
SHAPE = (36, 40, 32)
BODY = (slice(6, 30), slice(8, 32), slice(4, 28))
ORGAN = (slice(10, 24), slice(12, 26), slice(8, 22))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as MASS has published one, but narrow."""
    path = tmp_path_factory.mktemp("published") / "mass_base.pth"
    state = made_state(released_shapes(CHANNELS, edge=EDGE), seed=3)
    torch.save({"model": state, "ema_model": state, "iteration": 9, "config": {}}, path)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of 1.5 mm, and the label of the first: an organ in a body in air."""
    folder = tmp_path_factory.mktemp("scans")
    for number, name in enumerate(("a", "b")):
        voxels = np.random.default_rng(number).normal(-1000, 10, SHAPE).astype(np.float32)
        voxels[BODY] += 1000
        voxels[ORGAN] += 80
        Volume.from_array(voxels, spacing_mm=(1.5, 1.5, 1.5)).save(folder / f"{name}_ct.nii.gz")
    label = np.zeros(SHAPE, np.uint8)
    label[ORGAN] = 1
    Volume.from_array(label, spacing_mm=(1.5, 1.5, 1.5)).save(folder / "label.nii.gz")
    return folder


@pytest.mark.data
def test_all_that_was_published_is_loaded_to_its_numbers(parity_dir: Path, tmp_path: Path) -> None:
    rows = (parity_dir / "iris_base_state_dict.tsv").read_text().splitlines()[1:]
    cells = (row.split("\t") for row in rows)
    shapes = {key: tuple(map(int, shape.strip("[]").split(","))) for key, shape, *_ in cells}
    path = tmp_path / "mass_base.pth"
    torch.save({"model": made_state(shapes, seed=2)}, path)
    net = mass3d.load(path, device="cpu").trained.net
    target, reference, masks = made_inputs((32, 32, 32), 2, 2)
    logits = net(reference, masks, target).numpy()
    wanted = np.load(parity_dir / "base_32.npz")["logits"]
    assert np.linalg.norm(logits - wanted) / np.linalg.norm(wanted) <= 1e-4


def make_task(scans: Path, model: Path, output: Path) -> Path:
    config = task.TaskConfig(
        images=(scans / "a_ct.nii.gz",),
        labels=(scans / "label.nii.gz",),
        model=model,
        output=output,
        structures={"organ": 1},
        tune=False,
        device="cpu",
    )
    assert task.run(config).ok
    return output


def segmented(scans: Path, task_file: Path, output: Path, *, alignment: bool) -> np.ndarray:
    config = segment.SegmentConfig(
        inputs=(scans / "b_ct.nii.gz",),
        task=task_file,
        output=output,
        alignment=alignment,
        device="cpu",
    )
    assert segment.run(config).ok
    return read_label(output / "b_ct.nii.gz").voxels


def test_show_prints_what_became_of_every_key(published: Path) -> None:
    report = show.run(show.ShowConfig(paths=(published,)))
    assert report.ok
    rows = read_released(published).rows
    lines = [line.split(maxsplit=2) for line in report.summary().splitlines()]
    for row in rows:
        told = [line for line in lines if line[0] == row.released]
        if row.released.startswith("task_prior_"):
            assert [line[1:] for line in told] == [["left", f"out  {LEFT_OUT}"]]
        else:
            assert [line[1:] for line in told] == [["renamed", row.ours]]
    (facts,) = report.facts.values()
    assert facts["kind"] == "published weights of MASS"
    assert facts["fingerprint"] == load_trained(published, device="cpu").fingerprint
    assert facts["part"] == "ema_model"
    assert [one["key"] for one in facts["keys"]] == list(released_shapes(CHANNELS, edge=EDGE))


def test_published_weights_make_a_task_and_segment(
    published: Path, scans: Path, tmp_path: Path
) -> None:
    made = make_task(scans, published, published.parent / "organ.task")
    assert set(load_task(made).references[0].tensors) == {"tokens_0", "tokens_1", "tokens_2"}
    assert made.stat().st_size < 300_000
    aligned = segmented(scans, made, tmp_path / "aligned", alignment=True)
    assert 2 * (aligned[ORGAN] > 0).sum() / ((aligned > 0).sum() + 14**3) > 0.9
    by_network = segmented(scans, made, tmp_path / "network", alignment=False)
    assert by_network.shape == SHAPE
    told = json.loads((tmp_path / "network" / "cases.json").read_text())
    assert told["cases"]["b_ct"]["method"] == "network"


def test_scans_are_prepared_for_published_weights_as_mass_did(published: Path) -> None:
    trained = load_trained(published, device="cpu")
    assert trained.preparation.spacing_mm == 1.5
    assert trained.preparation.statistics == "box"
    assert trained.crop == (EDGE, EDGE, EDGE)
    assert trained.facts["step"] == 9


def test_a_saved_model_is_the_same_model(published: Path, scans: Path, tmp_path: Path) -> None:
    model = mass3d.load(published, device="cpu")
    assert model.save(tmp_path / "run") == tmp_path / "run" / WEIGHTS
    again = mass3d.load(tmp_path / "run", device="cpu")
    assert again.trained.fingerprint == model.trained.fingerprint
    assert again.trained.preparation == model.trained.preparation
    made = model.task([scans / "a_ct.nii.gz"], [scans / "label.nii.gz"], {"organ": 1}, tuning=None)
    volume = mass3d.read(scans / "b_ct.nii.gz")
    first, second = (one.answer(volume, made, alignment=False).labels for one in (model, again))
    assert np.array_equal(first, second)
    with pytest.raises(ConfigError, match="other files"):
        model.save(tmp_path / "run")


def test_published_weights_are_no_finetuned_model(published: Path) -> None:
    with pytest.raises(ModelError, match="knows no structures"):
        segment.run(segment.SegmentConfig(inputs=(published,), model=published, output=Path("x")))


def test_base_is_pretrained_and_used_like_any_other(
    store: Path, scans: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = pretrain_config(store, run, preset="base", channels=CHANNELS)
    assert pretrain.run(config).ok
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows)
    made = make_task(scans, run, tmp_path / "organ.task")
    assert segmented(scans, made, tmp_path / "out", alignment=False).shape == SHAPE
    assert Segmenter.load(run).trained.preparation.statistics == "body"


def test_published_weights_are_finetuned_and_predict(
    published: Path, scans: Path, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    config = finetune.FinetuneConfig.model_validate(
        {
            "images": [scans / "a_ct.nii.gz"],
            "label_maps": [scans / "label.nii.gz"],
            "model": published,
            "output": tuned,
            "structures": {"organ": 1},
            "device": "cpu",
            "fit": {"steps": 10, "log_every": 1, "precision": "32-true"},
        }
    )
    report = finetune.run(config)
    assert report.ok
    assert (report.began.start, report.began.steps) == ("pretrained", 9)
    first = load_trained(published, device="cpu")
    assert isinstance(first.net, IrisNet)
    found, facts, _ = checkpoint.load(tuned / WEIGHTS, kind="weights")
    assert facts["model"] == first.fingerprint
    for name, before in first.net.encoder.state_dict().items():
        moved = (found[f"trunk.encoder.{name}"] - before).norm()
        assert 0 < moved < before.norm() / 2, name  # it began with them, and learned
    predicted = segment.SegmentConfig(
        inputs=(scans / "b_ct.nii.gz",), model=tuned, output=tmp_path / "out", device="cpu"
    )
    assert segment.run(predicted).ok
    organ = read_label(tmp_path / "out" / "b_ct.nii.gz").voxels > 0
    assert 2 * organ[ORGAN].sum() / (organ.sum() + 14**3) > 0.3


def test_published_weights_embed_scans_and_are_probed(
    published: Path, scans: Path, tmp_path: Path
) -> None:
    inputs, embedded, probed = (tmp_path / name for name in ("scans", "embedded", "probed"))
    inputs.mkdir()
    for name in ("a", "b"):
        path = scans / f"{name}_ct.nii.gz"
        shutil.copy(path, inputs)
        volume = mass3d.read(path)
        volume.voxels[BODY] += 200
        volume.save(inputs / f"{name}_denser_ct.nii.gz")
    shown = {"inputs": [inputs], "model": published, "output": embedded, "untrained": True}
    assert embed.run(embed.EmbedConfig.model_validate({**shown, "device": "cpu"})).ok
    maps = json.loads((embedded / "embeddings.json").read_text())["maps"]
    assert maps == [[2**level, channels] for level, channels in enumerate(CHANNELS)]
    with np.load(embedded / "embeddings.npz") as arrays:
        features = arrays["features"]
    assert features.shape == (4, 2 * sum(CHANNELS))
    assert np.isfinite(features).all()
    table = tmp_path / "labels.csv"
    table.write_text("case,kind\na_ct,x\nb_ct,x\na_denser_ct,y\nb_denser_ct,y\n")
    asked = {"inputs": [embedded], "labels": table, "output": probed, "folds": 2, "device": "cpu"}
    assert probe.run(probe.ProbeConfig.model_validate(asked)).ok
    told = json.loads((probed / "metrics.json").read_text())["targets"]["kind"]["features"]
    assert told.keys() == {"pretrained", "untrained", "histogram", "size"}


def test_base_brings_the_recipe_of_the_release() -> None:
    config = pretrain.PretrainConfig.model_validate(
        {"store": "store", "output": "run", "preset": "base"}
    )
    fit, views = config.fit, config.views
    assert (fit.steps, fit.batch_size, fit.optimizer) == (100_000, 4, "lamb")
    assert (fit.lr, fit.weight_decay, fit.ema_decay, fit.clip) == (2e-3, 1e-5, 0.99, 1.0)
    assert (views.num_masks, views.min_overlap) == (13, 0.67)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "base", "channels": (8, 16)}, "channels"),
        ({"preset": "base", "channels": (8, 16, 32, 33, 32)}, "channels"),
        ({"preset": "base", "views": {"crop_vox": (144, 32, 32)}}, "at most 128"),
    ],
)
def test_sizes_that_the_network_cannot_have_are_refused(
    changes: dict[str, object], told: str, store: Path, tmp_path: Path
) -> None:
    narrow = {"channels": CHANNELS}
    with pytest.raises(ConfigError, match=told):
        pretrain.run(pretrain_config(store, tmp_path / "run", **(narrow | changes)))
