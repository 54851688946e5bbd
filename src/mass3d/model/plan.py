"""The stacks of a residual encoder U-Net as a plan of nnU-Net tells them, by the same names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from mass3d.config import Config, first_fault
from mass3d.errors import ConfigError

NETWORK: Final = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
CELL = 2  # voxels, along every axis: what is matched and drawn, so that a stride is a multiple

Width = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=32)]
Kernel = Annotated[int, Field(ge=1, le=9)]
Step = Annotated[int, Field(ge=1, le=4)]

# What a plan tells beside the stacks; a network that differs in it is another one.
ALIKE: Final[Mapping[str, Any]] = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED: Final = ("conv_op", "norm_op", "dropout_op", "nonlin")


class ResEncPlan(Config):
    """The stacks of a residual encoder U-Net; by default those of nnU-Net's plans ResEnc M and L.

    nnU-Net leaves out stages for scans that are small, and strides along thick slices.
    """

    n_stages: int = Field(default=6, ge=2, le=12)
    """Stages of the encoder, the first at full resolution."""
    features_per_stage: tuple[Width, ...] = (32, 64, 128, 256, 320, 320)
    """Channels of each stage."""
    n_blocks_per_stage: tuple[Count, ...] = (1, 3, 4, 6, 6, 6)
    """Residual blocks of each stage of the encoder."""
    n_conv_per_stage_decoder: tuple[Count, ...] = (1, 1, 1, 1, 1)
    """Convolutions of each stage of the decoder, the deepest first; one stage fewer than the
    encoder."""
    kernel_sizes: tuple[tuple[Kernel, Kernel, Kernel], ...] = ((3, 3, 3),) * 6
    """Kernel size of each stage along (D, H, W)."""
    strides: tuple[tuple[Step, Step, Step], ...] = ((1, 1, 1), *((2, 2, 2),) * 5)
    """Stride at the start of each stage along (D, H, W); 1 for the first."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Raise `ValueError` for stacks that make no network."""
        for name in ("features_per_stage", "n_blocks_per_stage", "kernel_sizes", "strides"):
            found = len(getattr(self, name))
            if found != self.n_stages:
                raise ValueError(f"{self.n_stages} of {name}, one for each stage, not {found}")
        if len(self.n_conv_per_stage_decoder) != self.n_stages - 1:
            raise ValueError(f"{self.n_stages - 1} of n_conv_per_stage_decoder")
        if any(edge % 2 == 0 for kernel in self.kernel_sizes for edge in kernel):
            raise ValueError("odd numbers as kernel_sizes")
        if self.strides[0] != (1, 1, 1):
            raise ValueError("a first stage with the strides 1, 1, 1")
        return self

    @property
    def strides_so_far(self) -> tuple[tuple[int, int, int], ...]:
        """Voxels per cell of the maps of each stage, along (D, H, W)."""
        found = [(1, 1, 1)]
        for d, h, w in self.strides[1:]:
            a, b, c = found[-1]
            found.append((a * d, b * h, c * w))
        return tuple(found)

    @property
    def stride(self) -> int:
        """What every edge of a view must be a multiple of."""
        return math.lcm(CELL, *self.strides_so_far[-1])

    def arch_kwargs(self) -> dict[str, Any]:
        """What nnU-Net builds the network from."""
        return {**self.plain(), **ALIKE}


def read_plan(path: Path, configuration: str) -> ResEncPlan:
    """The stacks of a configuration, such as 3d_fullres, of a plans file of nnU-Net.

    Raises `ConfigError` for a file that is none, and for a network of another kind.
    """
    configurations = _configurations(path)
    found = _inherited(configurations, configuration)
    if found is None:
        raise _unfit(path, f"no configuration {configuration}", f"one of {sorted(configurations)}")
    architecture = found.get("architecture")
    if not isinstance(architecture, dict) or not isinstance(architecture.get("arch_kwargs"), dict):
        raise _unfit(path, f"a configuration {configuration} without an architecture", NETWORK)
    if architecture.get("network_class_name") != NETWORK:
        raise _unfit(path, f"the network {architecture.get('network_class_name')}", NETWORK)
    return _plan(path, architecture["arch_kwargs"])


def _plan(path: Path, told: Mapping[str, Any]) -> ResEncPlan:
    for name, wanted in ALIKE.items():
        if told.get(name) != wanted:
            raise _unfit(path, f"{name} = {told.get(name)}", f"{name} = {wanted}")
    try:
        return ResEncPlan.model_validate(
            {name: value for name, value in told.items() if name not in ALIKE}
        )
    except ValidationError as error:
        key, found, message = first_fault(error)
        raise _unfit(path, f"{key or 'arch_kwargs'} = {found!r}"[:200], message) from error


def _configurations(path: Path) -> dict[str, Any]:
    try:
        plans = json.loads(path.read_bytes())
        configurations = plans["configurations"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unfit(path, f"no plans that can be read ({error})", "a plans file") from error
    if not isinstance(configurations, dict):
        raise _unfit(path, "no list of configurations", "a plans file")
    return configurations


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A configuration with what it takes from others."""
    found: dict[str, Any] = {}
    for _ in configurations:
        here = configurations.get(name)
        if not isinstance(here, dict):
            break
        found = {**here, **found}
        name = here.get("inherits_from", "")
    return found or None


def _unfit(path: Path, found: str, expected: str) -> ConfigError:
    return ConfigError(
        path,
        found=found,
        expected=expected,
        fix="Plan with nnUNetv2_plan_experiment -pl nnUNetPlannerResEncL (or M), and give its "
        "nnUNetResEncUNetLPlans.json.",
        setting="resenc.plans",
    )
