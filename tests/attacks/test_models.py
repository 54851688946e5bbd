"""Task and model files from somebody else: whatever was changed in them is told, and nothing runs.

Every header here has a digest that fits it, as one who means harm would see to.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from helpers import pretrain_config
from mass3d.apps import pretrain, segment, task
from mass3d.errors import ConfigError, Mass3dError, ModelError
from mass3d.io.read import read_volume
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import find_run, load_task

Facts = dict[str, Any]
Tensors = dict[str, Tensor]
Change = Callable[[Facts, Tensors], object]


def opened(path: Path) -> tuple[Tensors, Facts, str]:
    with safe_open(path, framework="pt") as stream:
        header = json.loads(stream.metadata()["mass3d"])
        return (
            {name: stream.get_tensor(name) for name in stream.keys()},  # noqa: SIM118 - no dict
            header["facts"],
            header["kind"],
        )


def tampered(path: Path, change: Change, target: Path) -> Path:
    """A copy with other facts and tensors, and a digest that fits."""
    tensors, facts, kind = opened(path)
    change(facts, tensors)
    checkpoint.save(target, tensors, kind=kind, facts=facts)
    return target


def put(name: str, value: Any) -> Change:
    return lambda facts, tensors: facts.__setitem__(name, value)


def first_float(tensors: Tensors) -> str:
    return next(name for name, one in tensors.items() if one.is_floating_point())


def spoil(value: float) -> Change:
    def change(facts: Facts, tensors: Tensors) -> None:
        del facts
        tensors[first_float(tensors)].view(-1)[0] = value

    return change


def reshape(facts: Facts, tensors: Tensors) -> None:
    del facts
    name = first_float(tensors)
    tensors[name] = tensors[name].reshape(-1)[:1]


def retype(facts: Facts, tensors: Tensors) -> None:
    del facts
    name = first_float(tensors)
    tensors[name] = (100 * tensors[name]).to(torch.int64)


def drop(facts: Facts, tensors: Tensors) -> None:
    del facts
    tensors.pop(first_float(tensors))


def add(facts: Facts, tensors: Tensors) -> None:
    del facts
    tensors["more.of.it"] = torch.zeros(3)


def rename(facts: Facts, tensors: Tensors) -> None:
    del facts
    name = first_float(tensors)
    tensors[f"9999{name}"] = tensors.pop(name)


TENSORS: dict[str, Change] = {
    "not a number": spoil(float("nan")),
    "endless": spoil(float("inf")),
    "another shape": reshape,
    "another type": retype,
    "one less": drop,
    "one more": add,
    "another name": rename,
}
TASKS: dict[str, Change] = TENSORS | {
    "no structures": put("structures", []),
    "structures of a text": put("structures", "liver"),
    "a structure of value 0": put("structures", [["liver", 0]]),
    "a structure beyond": put("structures", [["liver", 70_000]]),
    "a structure twice": put("structures", [["liver", 1], ["liver", 2]]),
    "a value twice": put("structures", [["liver", 1], ["spleen", 1]]),
    "a name that is none": put("structures", [[None, 1]]),
    "fewer references": put("references", []),
    "more references": put("references", ["a", "b", "c"]),
    "references of numbers": put("references", 7),
    "another model": put("model", "0" * 64),
    "no model": lambda facts, tensors: facts.pop("model"),
    "a run of a number": put("run", 5),
    "more facts": put("evil", True),
    "no labelled scans": put("oneshot", {}),
    "labelled scans of a text": put("oneshot", "x"),
}
MODELS: dict[str, Change] = TENSORS | {
    "no preset": lambda facts, tensors: facts.pop("preset"),
    "a preset of a text": put("preset", "tiny"),
    "a huge preset": lambda facts, tensors: facts["preset"].update(dim=4096),
    "a preset without end": lambda facts, tensors: facts["preset"].update(dim=10**12),
    "no crop": put("crop_vox", []),
    "a crop of nothing": put("crop_vox", [0, 16, 16]),
    "a crop off the stride": put("crop_vox", [17, 32, 32]),
    "a crop below nothing": put("crop_vox", [-16, 32, 32]),
    "no preparation": put("preparation", None),
    "a spacing of nothing": lambda facts, tensors: facts["preparation"].update(spacing_mm=0.0),
    "steps below nothing": put("step", -1),
    "facts of a list": put("fit", []),
    "more facts": put("evil", {"a": 1}),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_was_changed_is_told(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path, name: str
) -> None:
    path = tampered(task_file, TASKS[name], tmp_path / "x.task")
    scan = next((cohort / "imagesTs").iterdir())
    with pytest.raises(ModelError, match="task"):
        Segmenter.load(trained, device="cpu").segment(read_volume(scan), load_task(path))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_was_changed_is_told(trained: Path, tmp_path: Path, name: str) -> None:
    tampered(trained / WEIGHTS, MODELS[name], tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        Segmenter.load(tmp_path, device="cpu")


@pytest.mark.parametrize("hint", ["/", "/etc", "../../..", "../../../../run", "pipe", "a\0b", ""])
def test_a_task_leads_to_no_model_outside_its_neighbourhood(
    cohort: Path, task_file: Path, tmp_path: Path, hint: str
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    os.mkfifo(tmp_path / "deep" / "er" / "pipe")
    path = tampered(task_file, put("run", hint), tmp_path / "deep" / "er" / "x.task")
    with pytest.raises(Mass3dError):
        segment.run(
            segment.SegmentConfig(
                inputs=(cohort / "imagesTs",), task=path, output=tmp_path / "out", device="cpu"
            )
        )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.nii.gz"))
    if hint:
        with pytest.raises(ModelError):
            find_run(path, load_task(path))


@pytest.mark.parametrize("lr", ["inf", "nan", "1e38", "-1", "0"])
def test_no_rate_makes_a_model_of_what_is_no_number(store: Path, tmp_path: Path, lr: str) -> None:
    fit = pretrain_config(store, tmp_path / "run").fit.plain()
    with pytest.raises((ConfigError, ValueError), match="lr"):
        pretrain.run(pretrain_config(store, tmp_path / "run", fit={**fit, "lr": float(lr)}))
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_model_of_no_numbers_segments_nothing(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    tampered(trained / WEIGHTS, spoil(float("nan")), tmp_path / "run" / WEIGHTS)
    config = task.TaskConfig(
        images=(cohort / "imagesTr" / "ct_000_0000.nii.gz",),
        labels=(cohort / "labelsTr" / "ct_000.nii.gz",),
        model=tmp_path / "run",
        output=tmp_path / "x.task",
        device="cpu",
    )
    with pytest.raises(ModelError, match="not finite"):
        task.run(config)
    assert not (tmp_path / "x.task").exists()


def test_what_is_not_changed_is_sound(task_file: Path, tmp_path: Path) -> None:
    path = tampered(task_file, lambda facts, tensors: copy.copy(facts), tmp_path / "x.task")
    assert load_task(path).structures == load_task(task_file).structures
