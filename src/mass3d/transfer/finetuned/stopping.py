"""Weights that are scored on the way, on scans kept apart: the best are kept, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.execution.summary import counted
from mass3d.io.datasets.cohort import CaseFile
from mass3d.model.segmentation import SegmentationNetwork
from mass3d.training import checkpoint
from mass3d.training.choosing import Chosen, Judge
from mass3d.training.resume import CHOSEN
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.finetuned.scans import fingerprint
from mass3d.transfer.finetuned.scores import score
from mass3d.transfer.finetuned.segmenter import FinetunedRecord, segmenter_of
from mass3d.transfer.finetuned.settings import StoppingConfig


def stopping_facts(config: StoppingConfig, cases: Sequence[CaseFile]) -> dict[str, Any]:
    """What it adds to what decides the weights: nothing where nothing is scored on the way.

    Raises `ConfigError` where there is nothing to score.
    """
    if not config.every:
        return {}
    if not cases:
        raise ConfigError(
            "stopping.every",
            found="no labelled scan that is held out",
            expected="one at least, on which weights can be scored",
            fix="Hold some out with the setting validation.",
            setting="stopping.every",
        )
    return {"stopping": {**config.plain(), "scans": fingerprint(cases)}}


def judge_of(
    config: StoppingConfig,
    cases: Sequence[CaseFile],
    facts: Mapping[str, Any],
    device: torch.device,
) -> Judge | None:
    """Mean Dice of the cases, each on its own grid as at the end; None where nothing is scored."""
    if not config.every:
        return None
    record = FinetunedRecord.model_validate({**facts, "step": 0})

    def mean_dice(averaged: nn.Module) -> float:
        net = cast("SegmentationNetwork", averaged)
        segmenter = segmenter_of(net, record, device, facts=facts)
        found = score(segmenter, cases, seed=record.seed, advance=lambda done: None)
        return found.mean or 0.0

    return Judge(mean_dice, config.every, config.patience)


def chosen_in(run: Path) -> Chosen | None:
    """How the weights of a run were chosen; None for those after the last update."""
    facts = checkpoint.read_facts(run / WEIGHTS, kind="weights")
    return Chosen.model_validate(facts[CHOSEN]) if CHOSEN in facts else None


def chosen_in_words(chosen: Chosen, *, steps: int) -> str:
    """A sentence to be put behind another one."""
    (best, dice), last = chosen.best, chosen.scored[-1][0]
    ended = f" Training ended after {last} of {steps} updates." if last < steps else ""
    return (
        f" Of {counted(len(chosen.scored), 'scoring')} on these the weights after "
        f"{counted(best, 'update')} were best (Dice {dice:.3f}) and were kept, so that this "
        f"Dice is a little too good.{ended}"
    )
