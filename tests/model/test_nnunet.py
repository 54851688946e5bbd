"""Weights to nnU-Net and back: every tensor under every name, and every key accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import STACKS, small_resenc
from mass3d.errors import ModelError
from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.nnunet import (
    EXTRA,
    HEAD,
    Stacks,
    first_stacks,
    misfits,
    read_stacks,
    shapes_of,
    stacks_of,
    their_names,
    to_nnunet,
)
from mass3d.model.plan import ResEncPlan
from mass3d.model.resenc import ResEncTrunk

PLAN = ResEncPlan(**STACKS)
STEM = "encoder.stem.convs.0.conv.weight"


@pytest.fixture(scope="module")
def trunk() -> ResEncTrunk:
    torch.manual_seed(0)
    return ResEncTrunk(PLAN, width=4)


@pytest.fixture
def state(trunk: ResEncTrunk) -> dict[str, Tensor]:
    """As nnU-Net saves it, with heads."""
    heads = {"decoder.seg_layers.0.weight": torch.zeros(2, 12, 1, 1, 1)}
    return to_nnunet(stacks_of(trunk)) | heads


def saved(path: Path, weights: Any, **further: Any) -> Path:
    torch.save({"network_weights": weights, **further}, path)
    return path


def test_a_tensor_has_all_names_that_nnunet_gives_it() -> None:
    assert their_names("encoder.stages.1.blocks.0.skip.1.norm.bias") == (
        "encoder.stages.1.blocks.0.skip.1.norm.bias",
        "encoder.stages.1.blocks.0.skip.1.all_modules.1.bias",
        "decoder.encoder.stages.1.blocks.0.skip.1.norm.bias",
        "decoder.encoder.stages.1.blocks.0.skip.1.all_modules.1.bias",
    )
    assert their_names("decoder.stages.0.convs.1.conv.weight") == (
        "decoder.stages.0.convs.1.conv.weight",
        "decoder.stages.0.convs.1.all_modules.0.weight",
    )
    assert their_names("decoder.transpconvs.0.bias") == ("decoder.transpconvs.0.bias",)


def test_nothing_is_kept_twice(trunk: ResEncTrunk) -> None:
    stacks = stacks_of(trunk)
    assert shapes_of(PLAN) == {name: tuple(one.shape) for name, one in stacks.items()}
    theirs = to_nnunet(stacks)
    assert len(theirs) > 2 * len(stacks)
    assert len({one.data_ptr() for one in theirs.values()}) == len(stacks)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_what_goes_to_nnunet_comes_back(
    prefix: str, trunk: ResEncTrunk, state: dict[str, Tensor], tmp_path: Path
) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    path = saved(tmp_path / "x.pth", wrapped, _best_ema=np.float64(0.7), current_epoch=3)
    stacks = read_stacks(path, PLAN)
    assert stacks.has_decoder
    assert len(stacks.rows) == len(state)
    for name, tensor in stacks_of(trunk).items():
        assert torch.equal(stacks.tensors[name], tensor)
    lines = stacks.table().splitlines()
    assert sum(line.endswith("matched") for line in lines) == len(stacks.tensors)
    assert sum(line.endswith(HEAD) for line in lines) == 1
    assert any(line.endswith(f"the same as {STEM}") for line in lines)


def test_a_network_begins_with_the_tensors_and_nothing_else_changes(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    preset = small_resenc()
    path = saved(tmp_path / "x.pth", state)
    net, other = (build_network(preset, seed=5) for _ in range(2))
    stacks = first_stacks(net, preset, path)
    assert isinstance(net, CorrespondenceNet)
    assert torch.equal(net.trunk.state_dict()[STEM], state[STEM])
    assert torch.equal(net.key.weight, other.state_dict()["key.weight"])
    assert "encoder and decoder" in stacks.in_words()
    again = read_stacks(path, PLAN)
    assert stacks.facts() == again.facts()
    stacks.write(tmp_path)
    assert (tmp_path / "first-weights.txt").read_text() == stacks.table() + "\n"


def test_without_a_file_nothing_is_taken_nor_told(tmp_path: Path) -> None:
    preset = small_resenc()
    nothing = first_stacks(build_network(preset, seed=5), preset, None)
    assert nothing == Stacks({}, ())
    assert (nothing.facts(), nothing.in_words()) == ({}, "")
    nothing.write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_encoder_alone_is_enough(state: dict[str, Tensor], tmp_path: Path) -> None:
    """As nnssl leaves it for methods without a decoder; further parts are told."""
    encoder = {key: one for key, one in state.items() if key.startswith("encoder.")}
    stacks = read_stacks(saved(tmp_path / "x.pth", encoder | {"projector.0.weight": 3}), PLAN)
    assert not stacks.has_decoder
    assert "the encoder alone" in stacks.in_words()
    assert set(stacks.tensors) == {name for name in shapes_of(PLAN) if name.startswith("encoder.")}
    assert [row.why for row in stacks.rows if row.released == "projector.0.weight"] == [EXTRA]


def _without(state: dict[str, Tensor], end: str) -> dict[str, Tensor]:
    return {key: one for key, one in state.items() if not key.endswith(end)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s | {STEM: torch.zeros(8, 3, 1, 3, 3)}, rf"{STEM} of shape \[8, 3, 1, 3, 3\]"),
        (lambda s: _without(s, "stages.2.blocks.0.conv1.conv.weight"), "conv1.conv.weight is miss"),
        (lambda s: _without(s, "decoder.transpconvs.1.bias"), "transpconvs.1.bias is missing"),
        (lambda s: s | {"encoder.stages.3.blocks.0.x": torch.zeros(1)}, "blocks.0.x is too much"),
        (lambda s: s | {STEM: s[STEM] * torch.nan}, "not finite"),
        (lambda s: s | {STEM: 3}, "is no tensor"),
        (lambda s: s | {f"decoder.{STEM}": s[STEM] + 1}, f"decoder.{STEM} differs from {STEM}"),
        (lambda s: s | {f"module.{STEM}": s[STEM]}, "there twice"),
        (lambda _: 7, "network_weights is a int"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Any, told: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=told):
        read_stacks(saved(tmp_path / "x.pth", change(state)), PLAN)


def test_a_file_that_is_not_there_or_no_dictionary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_stacks(tmp_path / "x.pth", PLAN)
    torch.save([1], tmp_path / "x.pth")
    with pytest.raises(ModelError, match="a list"):
        read_stacks(tmp_path / "x.pth", PLAN)


@pytest.mark.parametrize(
    "change",
    [
        {"features_per_stage": (8, 12, 20)},
        {"n_blocks_per_stage": (1, 1, 1)},
        {"n_conv_per_stage_decoder": (1, 1)},
        {"kernel_sizes": ((3, 3, 3), (3, 3, 3), (3, 3, 3))},
        {"strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2))},
    ],
)
def test_every_difference_of_plans_is_one_of_shapes(change: dict[str, Any]) -> None:
    """So that nothing wrong is loaded because its shapes happen to agree."""
    assert misfits(shapes_of(PLAN), shapes_of(ResEncPlan(**(STACKS | change))))
    assert not misfits(shapes_of(PLAN), shapes_of(PLAN))
