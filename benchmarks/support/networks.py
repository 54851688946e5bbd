"""Networks with first weights, which cost what trained ones do."""

from __future__ import annotations

import torch
from support.synthetic import Shape

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, PresetName
from mass3d.transfer.trained import TrainedModel
from mass3d.views.crop import choose_crop
from mass3d.volume.preparation import PreparationConfig


def untrained(
    name: PresetName,
    shape: Shape,
    preparation: PreparationConfig,
    *,
    crop: Shape | None = None,
) -> TrainedModel:
    """As a run on scans of this shape leaves it and a verb loads it, but for the weights."""
    preset = PRESETS[name]
    net = build_network(preset, seed=0).eval().requires_grad_(False)
    chosen = choose_crop(crop, [shape], net.stride, max_voxels=preset.max_crop_voxels)
    net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return TrainedModel(net, chosen, preparation, "", torch.device("cpu"))
