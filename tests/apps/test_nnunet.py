"""The presets resenc-*: used like any other, handed over to nnU-Net, and begun with its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mass3d
from helpers import STACKS, plans_file, pretrain_config
from mass3d.apps import embed, export, finetune, pretrain, segment, task
from mass3d.errors import ConfigError, ModelError
from mass3d.files import read_json
from mass3d.model.nnunet import TABLE, shapes_of, their_names
from mass3d.model.plan import ResEncPlan
from mass3d.pages.handover import GUIDE
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.handover import ADAPTATION, CHECKPOINT, CONFIG, NNSSL
from mass3d.transfer.trained import load_trained, read_run

RESENC = {"preset": "resenc-l", "resenc": {"plan": STACKS}}


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resenc") / "run"
    assert pretrain.run(pretrain_config(store, folder, **RESENC)).ok
    return folder


@pytest.fixture(scope="module")
def handed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("handed") / "over"
    report = to_nnunet(run, folder, data="Four *phantoms*.", license="cc-by-4.0")
    assert CHECKPOINT in report.summary()
    return folder


def to_nnunet(model: Path, output: Path, **settings: object) -> export.ExportReport:
    values = {"model": model, "output": output, "to": "nnunet", **settings}
    return export.run(export.ExportConfig.model_validate(values))


def test_a_run_is_used_like_any_other(run: Path, cohort: Path, tmp_path: Path) -> None:
    scans, labels = sorted((cohort / "imagesTr").iterdir()), sorted((cohort / "labelsTr").iterdir())
    made = task.TaskConfig(
        images=(scans[0],), labels=(labels[0],), model=run, output=tmp_path / "x.task"
    )
    assert task.run(made).ok
    found = segment.SegmentConfig.model_validate(
        {"inputs": scans[1:2], "task": tmp_path / "x.task", "model": run, "output": tmp_path / "a"}
        | {"alignment": False}
    )
    assert segment.run(found).ok
    told = embed.EmbedConfig(inputs=tuple(scans[:2]), model=run, output=tmp_path / "e")
    assert embed.run(told).ok
    assert (tmp_path / "e" / "embeddings.csv").read_text().count("\n") == 3


def test_the_checkpoint_holds_every_tensor_under_every_name(run: Path, handed: Path) -> None:
    content = torch.load(handed / CHECKPOINT, weights_only=True)
    weights = content["network_weights"]
    shapes = shapes_of(ResEncPlan(**STACKS))
    assert set(weights) == {other for name in shapes for other in their_names(name)}
    tensors = read_run(run)[1]
    for name in shapes:
        for other in their_names(name):
            assert torch.equal(weights[other], tensors[f"trunk.{name}"])
    size = 4 * sum(tensors[f"trunk.{name}"].numel() for name in shapes)
    assert (handed / CHECKPOINT).stat().st_size < 2 * size + 200_000  # nothing twice


def test_nnssl_is_told_what_it_asks_and_whom_to_cite(run: Path, handed: Path) -> None:
    content = torch.load(handed / CHECKPOINT, weights_only=True)
    plan = content[NNSSL]
    assert read_json(handed / ADAPTATION) == plan
    told = read_json(handed / CONFIG)
    assert told["arch_kwargs"] == plan["architecture_plans"]["arch_kwargs"]
    assert told["fingerprint"] == content["mass3d"]["fingerprint"]
    assert plan["architecture_plans"]["arch_kwargs"]["strides"][1] == [1, 2, 2]
    (pretrained,) = plan["pretrain_plan"]["configurations"].values()
    assert pretrained == {"spacing": [7.0, 7.0, 7.0], "patch_size": [32, 32, 32]}
    for key in (plan["key_to_encoder"], plan["key_to_stem"], *plan["keys_to_in_proj"]):
        assert any(name.startswith(key) for name in content["network_weights"])
    for one in content["citations"]:
        assert set(one) == {"type", "name", "apa_citations"}
    assert "2603.13660" in content["citations"][1]["apa_citations"][0]
    assert content["mass3d"]["fingerprint"] == load_trained(run).fingerprint


def test_the_page_beside_it_tells_commands_and_network(handed: Path) -> None:
    page = (handed / GUIDE).read_text()
    for words in (
        f"-pretrained_weights {CHECKPOINT}",
        "| strides | 1x1x1, 1x2x2, 2x2x2 |",
        "cubes of 7 mm, crops of 32 x 32 x 32",
        r"Four \*phantoms\*.",
        "Terms of use: cc-by-4.0",
    ):
        assert words in page


def test_a_page_that_was_completed_by_hand_stays(run: Path, tmp_path: Path) -> None:
    to_nnunet(run, tmp_path / "over")
    guide, new = tmp_path / "over" / GUIDE, tmp_path / "over" / "README.new.md"
    guide.write_text("mine")
    report = to_nnunet(run, tmp_path / "over", license="mit")
    assert guide.read_text() == "mine"
    assert "Terms of use: mit" in new.read_text()
    told = f"README.md is not as it was written here and stays; the new one is {new}."
    assert report.summary().endswith(told)


def test_the_same_run_gives_the_same_bytes(run: Path, handed: Path, tmp_path: Path) -> None:
    to_nnunet(run, tmp_path / "again")
    assert (tmp_path / "again" / CHECKPOINT).read_bytes() == (handed / CHECKPOINT).read_bytes()


def test_weights_are_compared_with_a_plans_file(run: Path, tmp_path: Path) -> None:
    assert to_nnunet(run, tmp_path / "a", plans=plans_file(tmp_path / "fits.json")).ok
    other = plans_file(tmp_path / "other.json", features_per_stage=[8, 12, 20])
    with pytest.raises(ConfigError) as refused:
        to_nnunet(run, tmp_path / "b", plans=other)
    assert "encoder.stages.2.blocks.0.conv1.conv.weight of shape [16, 12, 3, 3, 3]" in str(
        refused.value
    )
    assert "[20, 12, 3, 3, 3]" in str(refused.value)
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigError, match="for an export to the hub"):
        to_nnunet(run, tmp_path / "c", to="hub", plans=other)


def test_other_presets_are_refused_by_name(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="resenc-m and resenc-l"):
        to_nnunet(trained, tmp_path / "x")


def test_a_card_tells_the_stages(run: Path, tmp_path: Path) -> None:
    mass3d.export(model=run, output=tmp_path / "hub")
    assert "| network | resenc, channels 8, 12, 16 |" in (tmp_path / "hub/README.md").read_text()


def test_a_run_is_built_after_a_plans_file(store: Path, run: Path, tmp_path: Path) -> None:
    resenc = {"plans": plans_file(tmp_path / "plans.json")}
    built = pretrain_config(store, tmp_path / "run", preset="resenc-l", resenc=resenc)
    assert pretrain.run(built).ok
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()


def test_a_run_begins_with_weights_of_nnunet(
    store: Path, run: Path, handed: Path, tmp_path: Path
) -> None:
    settings = {"preset": "resenc-l", "resenc": {"plan": STACKS, "init": handed / CHECKPOINT}}
    config = pretrain_config(store, tmp_path / "run", **settings)
    report = pretrain.run(config)
    assert "It began with encoder and decoder of another run" in report.summary()
    assert "left out: the same as encoder." in (tmp_path / "run" / TABLE).read_text()
    facts = checkpoint.read_facts(tmp_path / "run" / WEIGHTS, kind="weights")
    assert len(facts["began"]) == 64
    assert "began" not in checkpoint.read_facts(run / WEIGHTS, kind="weights")
    assert pretrain.run(config) == report  # finished
    with pytest.raises(ConfigError):  # another run than one with first weights of its own
        pretrain.run(pretrain_config(store, tmp_path / "run", **RESENC))
    first = {name: one for name, one in read_run(run)[1].items() if name.startswith("trunk.enc")}
    second = read_run(tmp_path / "run")[1]
    fresh = read_run(run)[1]
    moved = sum(float((second[name] - first[name]).norm()) for name in first)
    assert 0 < moved < sum(float((fresh[name]).norm()) for name in first)


def test_a_finetuned_run_is_handed_over_without_its_head(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    config = {"images": [cohort], "model": run, "output": tmp_path / "tuned", "labels": 2}
    fit = {"steps": 1, "precision": "32-true"}
    assert finetune.run(
        finetune.FinetuneConfig.model_validate({**config, "validation": 0, "fit": fit})
    ).ok
    to_nnunet(tmp_path / "tuned", tmp_path / "over")
    weights = torch.load(tmp_path / "over" / CHECKPOINT, weights_only=True)["network_weights"]
    tensors, _, _ = checkpoint.load(tmp_path / "tuned" / WEIGHTS, kind="weights")
    assert set(weights) == {
        other for name in shapes_of(ResEncPlan(**STACKS)) for other in their_names(name)
    }
    stem = "encoder.stem.convs.0.conv.weight"
    assert torch.equal(weights[stem], tensors[f"trunk.trunk.{stem}"])
    assert json.loads((tmp_path / "over/record.json").read_text())["verb"] == "export"
