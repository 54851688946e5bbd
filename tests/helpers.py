"""Settings that several test modules share."""

import json
from pathlib import Path
from typing import Any

from mass3d.apps.pretrain import PretrainConfig
from mass3d.model.plan import NETWORK, ResEncPlan
from mass3d.model.presets import ResEncPreset
from mass3d.pretext.task import ObjectiveName
from mass3d.training.fit import FitConfig

STEPS = 4
# Encoder and decoder of nnU-Net with thick slices in the first stage, small enough for a test.
STACKS: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": (8, 12, 16),
    "n_blocks_per_stage": (1, 2, 1),
    "n_conv_per_stage_decoder": (1, 2),
    "kernel_sizes": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
}
OTHERS: tuple[ObjectiveName, ...] = ("autoencoder", "contrastive", "correspondence")


def plans_file(path: Path, **change: object) -> Path:
    """A plans file of nnU-Net with a network of these stacks, as its planners write it."""
    kwargs = {**ResEncPlan(**STACKS).arch_kwargs(), **change}
    architecture = {"network_class_name": NETWORK, "arch_kwargs": kwargs}
    told = {"spacing": [1.0, 1.0, 1.0], "architecture": architecture}
    path.write_text(json.dumps({"configurations": {"2d": {}, "3d_fullres": told}}))
    return path


def small_resenc() -> ResEncPreset:
    """A preset of these stacks."""
    return ResEncPreset(plan=ResEncPlan(**STACKS), width=16, max_crop_voxels=32**3)


def pretrain_config(
    store: Path | tuple[Path, ...], output: Path, **changes: object
) -> PretrainConfig:
    """A run of a few steps on small crops."""
    fit = FitConfig(steps=STEPS, batch_size=2, log_every=1, save_every=2, precision="32-true")
    values = {"store": store, "output": output, "fit": fit, "views": {"crop_vox": (32, 32, 32)}}
    return PretrainConfig.model_validate(values | changes)
