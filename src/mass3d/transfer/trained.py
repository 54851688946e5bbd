"""A trained in-context model as it leaves a run: network, crop, preparation, fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mass3d.config import build
from mass3d.errors import ConfigError, ModelError
from mass3d.model.incontext import InContextNet
from mass3d.model.presets import Preset
from mass3d.training import checkpoint
from mass3d.training.fit import WEIGHTS
from mass3d.volume.preparation import PreparationConfig


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode and what a scan needs to be shown to it."""

    net: InContextNet
    crop: tuple[int, int, int]  # voxels along (D, H, W)
    preparation: PreparationConfig
    fingerprint: str  # SHA-256 over the weights and these facts
    device: torch.device


def load_trained(run: Path, *, device: str = "auto") -> TrainedModel:
    """Load a run folder or a weights file. Raises `ModelError` when it cannot be trusted."""
    path = run / WEIGHTS if run.is_dir() or not run.exists() else run
    tensors, facts, fingerprint = checkpoint.load(path, kind="weights")
    net = InContextNet(build(Preset, facts["preset"]))
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            path,
            found=str(error).splitlines()[-1].strip(),
            expected="exactly the tensors of the preset it names",
            fix="The file was made by another version: pretrain again.",
        ) from error
    target = _device(device)
    net = net.eval().requires_grad_(False).to(target)
    # torch's stubs do not know the argument
    net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    d, h, w = facts["crop_vox"]
    return TrainedModel(
        net, (d, h, w), build(PreparationConfig, facts["preparation"]), fingerprint, target
    )


def _device(name: str) -> torch.device:
    """The named device. Raises `ConfigError` where torch has no such device here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            "device",
            found=repr(name),
            expected="auto, cpu, or a device that torch has on this machine",
            fix="Leave it out to take what is there.",
        ) from error
    return device
