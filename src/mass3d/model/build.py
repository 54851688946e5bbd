"""From a preset to a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import torch
from torch import nn

from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.incontext import InContextNet
from mass3d.model.iris import IrisNet
from mass3d.model.presets import Preset
from mass3d.model.protocol import NetworkModule

KINDS: Final[dict[str, Callable[[Any], nn.Module]]] = {
    "incontext": InContextNet,
    "correspondence": CorrespondenceNet,
    "iris": IrisNet,
    "resenc": CorrespondenceNet,
}


def build_network(preset: Preset, *, seed: int) -> NetworkModule:
    """The network of a preset with its initial weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast("NetworkModule", KINDS[preset.kind](preset))
