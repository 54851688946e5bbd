"""Plans of nnU-Net: read where they tell our network, and refused by name where they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from helpers import STACKS, plans_file
from mass3d.errors import ConfigError
from mass3d.model.plan import ALIKE, NETWORK, ResEncPlan, read_plan

CONFIGURATION = "3d_fullres"


def test_strides_are_those_of_all_stages_so_far() -> None:
    plan = ResEncPlan(**STACKS)
    assert plan.strides_so_far == ((1, 1, 1), (1, 2, 2), (2, 4, 4))
    assert plan.stride == 4
    assert ResEncPlan().stride == 32
    flat = STACKS | {"strides": ((1, 1, 1), (1, 1, 1), (1, 1, 1))}
    assert ResEncPlan(**flat).stride == 2  # of the cells


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_stages": 4}, "4 of features_per_stage, one for each stage, not 3"),
        ({"strides": STACKS["strides"][:2]}, "3 of strides"),
        ({"n_conv_per_stage_decoder": (1, 1, 1)}, "2 of n_conv_per_stage_decoder"),
        ({"kernel_sizes": ((3, 3, 3), (3, 3, 2), (3, 3, 3))}, "odd numbers"),
        ({"strides": ((2, 2, 2), (2, 2, 2), (1, 1, 1))}, "a first stage with the strides 1"),
    ],
)
def test_stacks_that_make_no_network_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ResEncPlan(**(STACKS | change))


def test_a_plans_file_tells_its_network(tmp_path: Path) -> None:
    assert read_plan(plans_file(tmp_path / "plans.json"), CONFIGURATION) == ResEncPlan(**STACKS)


def test_a_configuration_takes_what_it_does_not_tell_from_another(tmp_path: Path) -> None:
    path = plans_file(tmp_path / "plans.json")
    plans = json.loads(path.read_text())
    plans["configurations"]["mine"] = {"inherits_from": CONFIGURATION, "batch_size": 3}
    path.write_text(json.dumps(plans))
    assert read_plan(path, "mine") == ResEncPlan(**STACKS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"conv_bias": False}, "conv_bias = False"),
        ({"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}, "BatchNorm3d"),
        ({"n_stages": 5}, "5 of features_per_stage"),
        ({"strides": "2"}, "strides"),
        ({"stem_channels": 7}, "stem_channels"),
    ],
)
def test_another_network_is_told_by_what_differs(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        read_plan(plans_file(tmp_path / "plans.json", **change), CONFIGURATION)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no plans that can be read"),
        ("{", "no plans that can be read"),
        ("[]", "no plans that can be read"),
        ('{"configurations": []}', "no list of configurations"),
        ('{"configurations": {"2d": {}}}', r"no configuration 3d_fullres.*2d"),
        ('{"configurations": {"3d_fullres": {"spacing": 1}}}', "without an architecture"),
        (
            '{"configurations": {"3d_fullres": {"architecture": {"network_class_name": '
            '"PlainConvUNet", "arch_kwargs": {}}}}}',
            "the network PlainConvUNet",
        ),
    ],
)
def test_what_is_no_plans_file_of_a_residual_encoder_is_refused(
    text: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "plans.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told) as refused:
        read_plan(path, CONFIGURATION)
    assert "nnUNetPlannerResEncL" in refused.value.fix


def test_nnunet_is_told_all_that_it_builds_from() -> None:
    told = ResEncPlan().arch_kwargs()
    assert set(ALIKE) < set(told)
    assert told["strides"][1] == [2, 2, 2]  # lists, as in JSON
    assert NETWORK.endswith("ResidualEncoderUNet")
