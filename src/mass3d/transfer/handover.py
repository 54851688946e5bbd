"""A trained encoder and decoder handed over to nnU-Net: one file, and what to know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mass3d.errors import ConfigError, ModelError
from mass3d.files import VERSION, whole_file, write_json
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.nnunet import WEIGHTS_KEY, misfits, shapes_of, stacks_of, to_nnunet
from mass3d.model.plan import IMPORTED, NETWORK, ResEncPlan, read_plan
from mass3d.model.presets import PRESETS, ResEncPreset
from mass3d.model.resenc import ResEncTrunk
from mass3d.model.torch_file import some_of
from mass3d.transfer.trained import TrainedModel

CHECKPOINT: Final = "checkpoint_final.pth"  # as nnU-Net looks for on the hub
ADAPTATION: Final = "adaptation_plan.json"
CONFIG: Final = "config.json"  # the hub counts by it how often a model is taken
KIND: Final = ResEncPreset.model_fields["kind"].default
NNSSL: Final = "nnssl_adaptation_plan"
METHOD: Final = (
    "Gao, Y., Zhang, Y., Wang, C., Liu, J., Varma, M., Delbrouck, J.-B., Chaudhari, A., & "
    "Langlotz, C. (2026). Learning Generalizable 3D Medical Image Representations from Mask-Guided "
    "Self-Supervision. CVPR 2026. arXiv:2603.13660"
)
NETWORK_PAPER: Final = (
    "Isensee, F., Wald, T., Ulrich, C., Baumgartner, M., Roy, S., Maier-Hein, K., & Jaeger, P. F. "
    "(2024). nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation. "
    "MICCAI 2024. arXiv:2404.09556"
)
CITATIONS: Final = (  # in the form in which nnU-Net prints them
    {"type": "Architecture", "name": "ResEnc U-Net", "apa_citations": [NETWORK_PAPER]},
    {"type": "Pre-Training Method", "name": "MASS (mass3d)", "apa_citations": [METHOD]},
)


def require_plan(where: Path, trained: TrainedModel) -> ResEncPlan:
    """The plan of a network that nnU-Net can take. Raises `ModelError` for any other."""
    told = trained.facts["preset"]
    if told["kind"] != KIND:
        presets = [name for name, one in PRESETS.items() if isinstance(one, ResEncPreset)]
        raise ModelError(
            where,
            found=f"a network of the kind {told['kind']}, which nnU-Net has not",
            expected=f"one of the presets {' and '.join(presets)}",
            fix=f"Pretrain with the preset {presets[-1]}.",
            setting="model",
        )
    return ResEncPreset.model_validate(told).plan


def require_fit(plan: ResEncPlan, plans: Path, configuration: str) -> None:
    """Raise `ConfigError` unless the weights of a plan fit a plans file of nnU-Net."""
    found, wanted = shapes_of(plan), shapes_of(read_plan(plans, configuration))
    faults = misfits(found, wanted)
    if faults:
        raise ConfigError(
            plans,
            found=f"weights that do not fit its {configuration}: {some_of(faults)}",
            expected="all tensors of encoder and decoder with the same shapes",
            fix="Pretrain with this plans file, so that the network is built after it.",
            setting="plans",
        )


def adaptation_plan(trained: TrainedModel, plan: ResEncPlan) -> dict[str, Any]:
    """What nnssl and nnU-Net want to know of pretrained weights."""
    spacing, patch = [trained.preparation.spacing_mm] * 3, list(trained.crop)
    return {
        "architecture_plans": {
            "arch_class_name": NETWORK,
            "arch_kwargs": plan.arch_kwargs(),
            "arch_kwargs_requiring_import": list(IMPORTED),
        },
        "pretrain_plan": {"configurations": {"mass3d": {"spacing": spacing, "patch_size": patch}}},
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": patch,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def checkpoint_of(trained: TrainedModel, plan: ResEncPlan) -> dict[str, Any]:
    """What nnU-Net reads: tensors and plain values alone, every tensor but those of heads."""
    net: nn.Module = trained.net
    assert isinstance(net, CorrespondenceNet)
    assert isinstance(net.trunk, ResEncTrunk)
    return {
        WEIGHTS_KEY: to_nnunet(stacks_of(net.trunk)),
        NNSSL: adaptation_plan(trained, plan),
        "citations": [dict(one) for one in CITATIONS],
        "trainer_name": f"mass3d {VERSION}",
        "mass3d": {
            "fingerprint": trained.fingerprint,
            "preparation": trained.preparation.plain(),
            "crop_vox": list(trained.crop),
        },
    }


def write_handover(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint as torch does, and what a repository of the hub has beside it.

    Equal contents give equal bytes. Raises `OutputError`.
    """
    with whole_file(folder / CHECKPOINT) as partial, partial.open("wb") as stream:
        torch.save(dict(content), stream)
    write_json(folder / ADAPTATION, content[NNSSL])
    plans = content[NNSSL]["architecture_plans"]
    write_json(folder / CONFIG, {"library_name": "nnunetv2", **plans, **content["mass3d"]})
