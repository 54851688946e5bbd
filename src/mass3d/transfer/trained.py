"""A trained in-context model as it leaves a run: network, crop, preparation, fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from mass3d.config import Config
from mass3d.device import choose_device
from mass3d.errors import ModelError
from mass3d.execution.ownership import earlier_record
from mass3d.hub import cached_file, why_not
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, Preset
from mass3d.model.protocol import FeatureNetworkModule, NetworkModule
from mass3d.model.released import Released, is_released, read_released
from mass3d.pretext.task import ObjectiveName
from mass3d.training import checkpoint
from mass3d.training.run_files import RESUME, WEIGHTS
from mass3d.volume.preparation import PreparationConfig

MATCHING: Final = ("masks", "correspondence")  # objectives after which a network can match
RELEASED_SPACING_MM: Final = 1.5
STRUCTURES: Final = "structures"  # the fact that a finetuned model tells and no other


class RunRecord(Config):
    """What a weights file says beside its tensors: all that is needed to use them."""

    preset: Preset
    """The network."""
    crop_vox: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Voxels of a view along (D, H, W)."""
    preparation: PreparationConfig
    """How a scan is brought to what the network has seen."""
    step: int = Field(ge=0)
    """Updates behind the weights."""
    seed: int = Field(default=0, ge=0)
    """Decides the initial weights and every draw."""
    store: str = ""
    """Fingerprint of the stores it learned from."""
    precision: str = "32-true"
    """Numbers it was trained in."""
    fit: dict[str, Any] = Field(default_factory=dict)
    """Settings of the loop."""
    views: dict[str, Any] = Field(default_factory=dict)
    """Settings of the views."""
    draws: dict[str, Any] = Field(default_factory=dict)
    """Samples of each part of a thousand, where not every scan was drawn as often."""
    objective: ObjectiveName = "masks"
    """What it learned from."""
    # a run that began with initial weights of its own says nothing of it, as older ones do
    began: str = Field(default="", exclude_if=lambda value: not value)
    """Fingerprint of the encoder and decoder that it began with, where these were another's."""

    def plain(self) -> dict[str, Any]:
        """JSON-able values; draws are told only where they are not even."""
        told = super().plain()
        return told if self.draws else {k: v for k, v in told.items() if k != "draws"}


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode and what a scan needs to be shown to it."""

    net: NetworkModule = field(repr=False)
    crop: tuple[int, int, int]  # voxels along (D, H, W)
    preparation: PreparationConfig
    fingerprint: str  # SHA-256 over the weights and these facts
    device: torch.device
    objective: ObjectiveName = "masks"  # what it learned from
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)  # of its file


def load_trained(run: Path, *, device: str = "auto") -> TrainedModel:
    """Load a run folder, a weights file or the published weights of MASS.

    Raises `ModelError` when it cannot be trusted.
    """
    target, path = choose_device(device), weights_file(run)
    record, tensors, facts, fingerprint = _read(path)
    net = unfilled_network(path, record.preset, tensors)
    fill_weights(path, net, tensors)
    if any(edge % net.stride for edge in record.crop_vox):
        raise ModelError(
            path,
            found=f"a crop of {list(record.crop_vox)} voxels",
            expected=f"multiples of {net.stride}",
            fix="The file was changed: copy it again or pretrain anew.",
        )
    net = net.eval().requires_grad_(False).to(target)
    # torch's stubs do not know the argument
    net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return TrainedModel(
        net, record.crop_vox, record.preparation, fingerprint, target, record.objective, facts
    )


def require_matching(trained: TrainedModel | RunRecord) -> None:
    """Raise `ModelError` for a network that never learned to match: a task of it means nothing."""
    if trained.objective not in MATCHING:
        raise ModelError(
            "model",
            found=f"a network pretrained with the objective {trained.objective}, "
            "which never learned to match",
            expected="one that learned from masks",
            fix="Pretrain with the objective masks, or finetune this one with labels.",
            setting="model",
        )


def doubts_about(run: Path, trained: TrainedModel) -> tuple[str, ...]:
    """Sentences about a network that can match, but has not learned to draw masks, or not ended."""
    odd = unfinished(run)
    if trained.objective == "masks":
        return odd
    return (
        *odd,
        f"the network was pretrained with the objective {trained.objective}: it learned to match, "
        "but not to draw masks",
    )


def unfinished(run: Path | None) -> tuple[str, ...]:
    """A sentence about a run that has not come to its end; none about others, or without one.

    Its weights can be used: they are those of the last time that it saved.
    """
    if run is None:
        return ()
    path = weights_file(run)
    if not (path.parent / RESUME).exists() or is_released(path):
        return ()
    step = checkpoint.read_facts(path, kind="weights").get("step")
    return (f"the run {path.parent} has not ended: its weights are those after {step} updates",)


def weights_file(run: Path) -> Path:
    """The weights of a run folder, the file itself, or those of a hub id that was fetched before.

    Raises `ModelError` where there is nothing of the kind.
    """
    if run.is_dir():
        return run / WEIGHTS
    if run.exists():
        return run
    cached = cached_file(str(run), WEIGHTS)
    if cached is None:
        reason = why_not(str(run))
        raise ModelError(
            run,
            found=f"no file or folder of this name{reason.found}",
            expected="a run folder, a weights file or a hub id",
            fix=f"Check the path.{reason.fix}",
            setting="model",
        )
    return cached


def record_beside(run: Path) -> dict[str, Any]:
    """The record of the run beside its weights, wherever these lie; empty where there is none."""
    return earlier_record(weights_file(run).parent)


def read_run(run: Path) -> tuple[RunRecord, dict[str, Tensor], str]:
    """Record, tensors and fingerprint of a pretrained run. Raises `ModelError` for any other."""
    record, tensors, _, fingerprint = _read(weights_file(run))
    return record, tensors, fingerprint


def _read(path: Path) -> tuple[RunRecord, dict[str, Tensor], dict[str, Any], str]:
    """Record, tensors, facts as they are written, and fingerprint; published weights as well."""
    if is_released(path):
        published, record, fingerprint = read_published(path)
        return record, dict(published.tensors), record.plain(), fingerprint
    tensors, facts, fingerprint = checkpoint.load(path, kind="weights")
    if STRUCTURES in facts:
        raise ModelError(
            path,
            found="a finetuned model, which knows its structures",
            expected="a pretrained model",
            fix="Use the run that it was finetuned from.",
            setting="model",
        )
    return checkpoint.validated(RunRecord, facts, path), tensors, facts, fingerprint


def read_published(path: Path) -> tuple[Released, RunRecord, str]:
    """Published weights, the record of the run that they are taken for, and the fingerprint."""
    published = read_released(path)
    record = _released_record(published)
    return published, record, checkpoint.digest(dict(published.tensors), record.plain())


def _released_record(published: Released) -> RunRecord:
    """What a run would say that had made published weights: how MASS prepared its scans."""
    edge = published.preset.position_edge
    return RunRecord(
        preset=published.preset,
        crop_vox=(edge, edge, edge),
        preparation=PreparationConfig(spacing_mm=RELEASED_SPACING_MM, statistics="box"),
        step=published.step,
        precision="bf16-mixed",
    )


def require_features(where: Path | str, net: nn.Module) -> FeatureNetworkModule:
    """The network, as one with a dense feature map. Raises `ModelError` where it has none."""
    if not hasattr(net, "features"):
        raise ModelError(
            where,
            found="a network without a dense feature map",
            expected="one that has one, such as that of the preset tiny",
            fix="Pretrain with another preset.",
            setting="model",
        )
    return cast("FeatureNetworkModule", net)


def unfilled_network(path: Path, preset: Preset, tensors: Mapping[str, Tensor]) -> NetworkModule:
    """The network of a preset, to be given its tensors.

    A size that a file tells is believed once its tensors bear it out: until then it takes no
    memory. Raises `ModelError` where they do not.
    """
    if preset not in PRESETS.values():
        with torch.device("meta"):
            wanted = build_network(preset, seed=0).state_dict()
        for name, tensor in wanted.items():
            found = tensors[name].shape if name in tensors else None
            if found != tensor.shape:
                raise _misfit(path, f"{name} of shape {found}, not {tensor.shape}")
    return build_network(preset, seed=0)


def fill_weights(path: Path, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network its tensors. Raises `ModelError` unless they are exactly those it has."""
    try:
        net.load_state_dict(tensors)
        if not all(tensor.is_floating_point() for tensor in tensors.values()):
            raise RuntimeError("tensors of whole numbers")
    except RuntimeError as error:
        raise _misfit(path, str(error).splitlines()[-1].strip()) from error


def _misfit(path: Path, found: str) -> ModelError:
    return ModelError(
        path,
        found=found,
        expected="exactly the tensors of the preset it names",
        fix="The file was made by another version: pretrain again.",
    )


def save_untrained(run: Path, *, like: Path) -> None:
    """Write the initial weights of a finished run as a run of its own: the plain comparison."""
    path = like / WEIGHTS
    facts = checkpoint.read_facts(path, kind="weights")
    record = checkpoint.validated(RunRecord, facts, path)
    net = build_network(record.preset, seed=record.seed)
    checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts={**facts, "step": 0})
