"""Sizes of networks: those of a file are checked like all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from helpers import STACKS, small_resenc
from mass3d.errors import ConfigError
from mass3d.model.blocks import norm
from mass3d.model.build import build_network
from mass3d.model.plan import ResEncPlan
from mass3d.model.presets import (
    PRESETS,
    InContextPreset,
    Preset,
    PresetName,
    ResEncConfig,
    chosen_preset,
)

SMALL: dict[str, Any] = {
    "channels": (4, 6, 8),
    "blocks": (1, 1),
    "dim": 6,
    "tokens": 1,
    "fusions": 1,
    "heads": 2,
    "hidden": 4,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"blocks": (1,)}, "one for each stage"),
        ({"blocks": (1, 1, 1)}, "one for each stage"),
        ({"fusions": 3}, "more stages with tokens"),
        ({"heads": 4}, "heads do not divide"),
        ({"heads": 3}, "heads do not divide"),
        ({"channels": (4, 6, 9)}, "heads do not divide"),
    ],
)
def test_sizes_that_make_no_network_are_refused(change: dict[str, Any], told: str) -> None:
    InContextPreset.model_validate(SMALL)
    with pytest.raises(ValidationError, match=told):
        InContextPreset.model_validate(SMALL | change)


def test_a_stage_that_meets_no_tokens_may_have_any_width() -> None:
    build_network(InContextPreset.model_validate(SMALL | {"channels": (3, 7, 8)}), seed=0)


LARGE = ("base", "resenc-m", "resenc-l")
NETWORKS: list[Preset] = [
    *(PRESETS[name] for name in PRESETS if name not in LARGE),
    small_resenc(),
]


@pytest.mark.parametrize("preset", NETWORKS, ids=lambda preset: preset.kind)
def test_first_weights_depend_on_the_seed_alone(preset: Preset) -> None:
    torch.manual_seed(1)
    first = build_network(preset, seed=3).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # nobody else's random numbers were drawn
    second, other = (build_network(preset, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("channels", [1, 7, 8, 12, 16, 24, 97, 98, 128])
def test_groups_of_channels_divide_them(channels: int) -> None:
    made = norm(channels)
    assert channels % made.num_groups == 0
    assert channels % 8 or made.num_groups == channels // 8


def test_stacks_are_those_that_are_given_or_the_usual() -> None:
    usual = chosen_preset("resenc-l", None, ResEncConfig())
    assert usual is PRESETS["resenc-l"]
    given = chosen_preset("resenc-l", None, ResEncConfig(plan=ResEncPlan(**STACKS)))
    assert given.plain() == usual.plain() | {"plan": ResEncPlan(**STACKS).plain()}
    assert chosen_preset("tiny", None, ResEncConfig()) is PRESETS["tiny"]
    assert chosen_preset("tiny", (8, 16), ResEncConfig()).plain()["channels"] == [8, 16]


@pytest.mark.parametrize(
    ("name", "channels", "resenc"),
    [
        ("tiny", None, {"plan": STACKS}),
        ("base", None, {"init": "x.pth"}),
        ("resenc-m", (8, 16), {}),
        ("resenc-m", None, {"plan": STACKS, "plans": "plans.json"}),
    ],
)
def test_settings_that_do_not_belong_to_a_preset_are_refused(
    name: PresetName, channels: tuple[int, ...] | None, resenc: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=name):
        chosen_preset(name, channels, ResEncConfig.model_validate(resenc))
