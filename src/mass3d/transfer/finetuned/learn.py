"""Training with labels: what it starts from, and what a step is."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mass3d.execution.progress import Advance
from mass3d.io.datasets.regions import Targets
from mass3d.model.build import build_network
from mass3d.model.segmentation import SegmentationNetwork, add_head
from mass3d.objective.label_loss import label_losses, mean_dice
from mass3d.training.choosing import Judge
from mass3d.training.fit import FitConfig, Progress, StepContext, StepOutcome, fit
from mass3d.transfer.finetuned.segmenter import Learn, Start, targets_in
from mass3d.transfer.trained import fill_weights, read_run, require_features
from mass3d.views.crop import choose_crop
from mass3d.views.labelled import (
    UNKNOWN,
    LabelledCase,
    LabelledMaker,
    LabelledViewConfig,
    LabelledViews,
)

TRUNK = "trunk."  # beginning of the names of all that is not the head


def learn(
    run: Path,
    cases: Sequence[LabelledCase],
    *,
    model: Path,
    facts: Mapping[str, Any],
    config: FitConfig,
    views: LabelledViewConfig,
    device: torch.device,
    advance: Advance,
    judge: Judge | None = None,
) -> None:
    """Train the network of the pretrained run `model` in `run`, or go on with that.

    `facts` are those of a `FinetunedRecord`, but for what the training adds. `judge`: of the
    weights on the way. Raises as `fit` does.
    """
    targets = targets_in(facts)
    classes, channels = len(targets.classes), len(facts.get("channels", [1]))
    start, seed = facts["start"], facts["seed"]
    net = first_network(model, classes, start=start, seed=seed, channels=channels)
    for name, weight in net.named_parameters():
        weight.requires_grad_(is_learned(name, net, facts.get("learn", "full")))
    crop = choose_crop(tuple(facts["crop_vox"]), [], net.stride, max_voxels=0)

    def hook(averaged: nn.Module, now: Progress) -> None:
        del averaged
        advance(now.step, f"loss {now.figures['loss']:.3f}  dice {now.figures['dice']:.3f}")

    fit(
        net,
        LabelledMaker(cases, crop, config.batch_size, facts["seed"], views),
        partial(label_step, regions=regions_of(targets, device)),
        config,
        run=run,
        facts=facts,
        seed=facts["seed"],
        hooks=(hook,),
        rates={TRUNK: facts["trunk_share"]},
        probe=probe_of(net),
        device=device,
        judge=judge,
    )


def first_network(
    run: Path, classes: int, *, start: Start, seed: int, channels: int = 1
) -> SegmentationNetwork:
    """The network of a pretrained run with a new head; its weights, or initial ones by the seed.

    Raises `ModelError` for a run that cannot be trusted or has no dense feature map.
    """
    record, tensors, _ = read_run(run)
    trunk = require_features(run, build_network(record.preset, seed=seed))
    if start == "pretrained":
        fill_weights(run, trunk, tensors)
    return add_head(trunk, classes, seed=seed, channels=channels)


def is_learned(name: str, net: SegmentationNetwork, learn: Learn) -> bool:
    """Whether a weight of the network moves, by its name."""
    if learn == "full" or not name.startswith(TRUNK):
        return True
    parts = tuple(TRUNK + part for part in net.trunk.encoder_parts)
    return learn == "decoder" and not name.startswith(parts)


class Began(NamedTuple):
    """What a finetuning began with, in numbers of weights."""

    start: Start
    objective: str  # of the pretrained run, whether its weights were taken or not
    steps: int  # of the pretrained run
    loaded: int  # taken from it
    fresh: int  # initial weights: of the head, or of all

    def in_words(self) -> str:
        """A sentence."""
        if self.start == "scratch":
            return f"All {self.fresh} weights were initialised at random; nothing was loaded."
        return (
            f"{self.loaded} weights were loaded, pretrained for {self.steps} steps with the "
            f"objective {self.objective}; the {self.fresh} of the head were initialised at random."
        )


def began(run: Path, classes: int, *, start: Start, channels: int = 1) -> Began:
    """What `first_network` loads and what it leaves fresh. Raises as it does."""
    record, tensors, _ = read_run(run)
    with torch.device("meta"):
        trunk = require_features(run, build_network(record.preset, seed=0))
        net = SegmentationNetwork(trunk, classes, channels)
    every = sum(parameter.numel() for parameter in net.parameters())
    loaded = sum(map(torch.numel, tensors.values())) if start == "pretrained" else 0
    return Began(start, record.objective, record.step, loaded, every - loaded)


def probe_of(net: SegmentationNetwork) -> SegmentationNetwork:
    """The network with a head that is not zero, so that all gradients can be compared."""
    probe = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nn.init.normal_(probe.out.weight, std=net.conv.out_channels**-0.5)
    return probe


def regions_of(targets: Targets, device: torch.device) -> Tensor | None:
    """Which classes are part of which structures (S, C); None where each is its own."""
    return torch.from_numpy(targets.table).to(device) if targets.regions else None


def label_step(
    model: nn.Module, views: LabelledViews, context: StepContext, *, regions: Tensor | None = None
) -> StepOutcome:
    """One step: tell the classes of labelled views apart, with the Dice of regions of them."""
    del context
    logits = model(views.image).float()
    losses = label_losses(logits, views.label, views.known, ignored=UNKNOWN, regions=regions)
    figures = {
        "cross_entropy": losses.cross_entropy,
        "dice_loss": losses.dice,
        "dice": mean_dice(logits.detach(), views.label),
    }
    return StepOutcome(losses.total, figures, views.case_ids)
