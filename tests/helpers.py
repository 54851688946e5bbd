"""Settings that several test modules share."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.apps.pretrain import PretrainConfig
from mass3d.apps.task import TaskConfig
from mass3d.model.build import build_network
from mass3d.model.plan import NETWORK, ResEncPlan
from mass3d.model.presets import PRESETS, ResEncPreset
from mass3d.pretext.task import ObjectiveName
from mass3d.training import checkpoint
from mass3d.training.fit import FitConfig
from mass3d.training.run_files import WEIGHTS
from mass3d.volume.preparation import PreparationConfig, prepare_label
from mass3d.volume.volume import Volume

STEPS = 4
TUNING = {"views": 2, "held_out": 1, "voxels_per_view": 500, "steps": 5, "batch": 256}
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


def untrained_run(run: Path, *, crop: int, spacing_mm: float) -> Path:
    """A run with first weights, for tests that do not depend on what it has learned."""
    facts = {
        "preset": PRESETS["tiny"].plain(),
        "crop_vox": (crop,) * 3,
        "step": 0,
        "preparation": PreparationConfig(spacing_mm=spacing_mm).plain(),
    }
    net = build_network(PRESETS["tiny"], seed=3)
    checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
    return run


def renamed(cohort: Path, folder: Path, change: Callable[[dict[str, int]], object]) -> Path:
    """A copy of a raw folder, whose names of labels are changed."""
    data = Path(shutil.copytree(cohort, folder))
    rename(data, change)
    return data


def rename(data: Path, change: Callable[[dict[str, int]], object]) -> None:
    """Change the names of the labels of a raw folder."""
    table = json.loads((data / "dataset.json").read_text())
    change(table["labels"])
    (data / "dataset.json").write_text(json.dumps(table))


def ignore_gallbladder(labels: dict[str, int]) -> None:
    """What was the gallbladder is what nobody has annotated."""
    labels["ignore"] = labels.pop("gallbladder")


def lost_voxel(label: Volume, value: int, *, spacing_mm: float) -> NDArray[np.uint16]:
    """A label map (D, H, W) with one voxel of a structure, of which none is left on these cubes."""
    grid = label.grid.resampled((spacing_mm,) * 3)
    for place in np.argwhere(label.voxels == value):
        found = np.zeros_like(label.voxels)
        found[tuple(place)] = value
        if not prepare_label(label.with_voxels(found), grid).any():
            return found
    raise AssertionError("every voxel is seen")


def task_config(
    cohort: Path, model: Path, output: Path, /, *names: str, **changes: object
) -> TaskConfig:
    """A task of some cases of a raw folder, hardly tuned."""
    values = {
        "images": [cohort / "imagesTr" / f"{name}_0000.nii.gz" for name in names],
        "labels": [cohort / "labelsTr" / f"{name}.nii.gz" for name in names],
        "model": model,
        "output": output,
        "device": "cpu",
        "tuning": TUNING,
    }
    return TaskConfig.model_validate(values | changes)
