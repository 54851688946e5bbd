"""How the Dice of a run goes: a row for every validation, floors beside it, and a plateau told.

What is validated when depends on the step alone, so that a run that is killed goes on with the
same rows. The weights and the draws of a run are the same with and without it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.execution.faults import first_line, is_lack_of_memory
from mass3d.execution.progress import tell
from mass3d.files import read_json, text_hash, write_json
from mass3d.model.build import build_network
from mass3d.model.presets import Preset
from mass3d.model.protocol import NetworkModule, network_of
from mass3d.training.log import append_row, cut_rows, read_rows
from mass3d.training.resume import read_record
from mass3d.training.step import Progress
from mass3d.transfer.trained import MATCHING, TrainedModel
from mass3d.transfer.validation.scans import (
    Scans,
    Scores,
    mean_of,
    read_scans,
    score_affine,
    score_network,
)
from mass3d.transfer.validation.settings import ValidationConfig
from mass3d.volume.geometry import Shape
from mass3d.volume.preparation import PreparationConfig

ROWS: Final = "validation.jsonl"
FLOORS: Final = "validation-floors.json"

Dice = dict[str, float | None]  # of structures; None where it is not known


class Trial(NamedTuple):
    """The network that is validated, and how scans are shown to it."""

    preset: Preset
    seed: int
    objective: str
    crop: Shape
    preparation: PreparationConfig
    device: torch.device
    first: nn.Module | None = None  # as the run begins; None for initial weights by the seed
    began: str = ""  # fingerprint of another's weights that it begins with

    def score(self, net: nn.Module, scans: Scans) -> Scores:
        """Dice of a network as it is."""
        network: NetworkModule = net  # type: ignore[assignment]  # the averaged one of a run
        return score_network(
            TrainedModel(network, self.crop, self.preparation, "", self.device), scans
        )


@dataclass
class Course:
    """The hook that validates, and what it has found so far."""

    run: Path
    config: ValidationConfig
    trial: Trial
    scans: Scans = field(repr=False)
    floors: dict[str, Dice]  # `untrained` and `affine`
    rows: list[dict[str, Any]]
    last: Scores | None = field(default=None, repr=False)  # of this process

    def __call__(self, averaged: nn.Module, now: Progress) -> None:
        """Validate where it is due."""
        if (
            now.step != now.steps
            and now.step // self.config.every == now.before // self.config.every
        ):
            return
        try:
            self.last = self.trial.score(network_of(averaged), self.scans)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            tell(f"No validation at step {now.step}: not enough memory ({first_line(error)}).")
            return
        means = {name: mean_of(dice) for name, dice in self.floors.items()}
        row = {"step": now.step, "dice": self.last.mean, "structures": self.last.dice, **means}
        append_row(self.run / ROWS, row)
        self.rows.append(row)
        if self.since_best() == self.config.patience:
            tell(self.plateau())

    def since_best(self) -> int:
        """Validations since that with the highest Dice, the first of several."""
        dice = [_known(row["dice"]) for row in self.rows]
        return len(dice) - 1 - dice.index(max(dice)) if dice else 0

    def plateau(self) -> str:
        """A sentence, where the Dice has not risen for as long as patience is; else nothing."""
        since = self.since_best()
        if since < self.config.patience:
            return ""
        best = self.rows[-1 - since]
        return (
            f"The Dice of the validation has not risen above {told(best['dice'])} "
            f"(step {best['step']}) in {since} validations; the run goes on, but more steps of "
            "these settings may not help."
        )

    def in_words(self) -> str:
        """The last validation beside its floors; nothing before the first."""
        if not self.rows:
            return ""
        floors = ", ".join(f"{name} {told(mean_of(dice))}" for name, dice in self.floors.items())
        return f"validation Dice {told(self.rows[-1]['dice'])} ({floors})"


def told(dice: float | None) -> str:
    """In three digits, or a dash."""
    return "-" if dice is None else f"{dice:.3f}"


def _known(dice: float | None) -> float:
    return -1.0 if dice is None else dice


def begin_course(run: Path, config: ValidationConfig, trial: Trial) -> Course:
    """Read the scans, find the floors or read them, and go on with the rows of the run.

    Raises `DataError` for scans that cannot be used, `ConfigError` for an objective whose networks
    cannot be shown an example.
    """
    assert config.dataset is not None, "a validation that was asked for"
    if trial.objective not in MATCHING:
        raise ConfigError(
            "validation.dataset",
            found=f"a validation of the objective {trial.objective}, which never learns to match",
            expected=f"one of the objectives {' and '.join(MATCHING)}",
            fix="Leave the validation out, or compare such runs by finetuning.",
            setting="validation.dataset",
        )
    scans = read_scans(config.dataset, config.queries, trial.preparation)
    floors, kept = _floors(run, trial, scans)
    record = read_record(run)
    cut_rows(run / ROWS, record.told if record is not None and kept else 0)
    course = Course(run, config, trial, scans, floors, read_rows(run / ROWS))
    queries = ", ".join(query.case_id for query in scans.queries)
    words = ", ".join(f"{name} {told(mean_of(dice))}" for name, dice in floors.items())
    tell(
        f"Validation: {scans.example.case_id} is shown ({', '.join(scans.structures)}), {queries} "
        f"segmented; Dice without learning: {words}."
    )
    return course


def require_validated(run: Path, config: ValidationConfig) -> None:
    """Raise `ConfigError` for a run that has ended and was not validated, where that is asked for.

    What is validated are weights on the way, which are no longer there.
    """
    if config.dataset is not None and not (run / ROWS).exists():
        raise ConfigError(
            run,
            found="a finished run that was not validated on its way",
            expected="a run that is still to be trained",
            fix="Leave the validation out and score the run with a task, or choose a new folder.",
            setting="validation.dataset",
        )


def _floors(run: Path, trial: Trial, scans: Scans) -> tuple[dict[str, Dice], bool]:
    """What no training gives, and whether it was in the folder already."""
    facts = [
        trial.preset.plain(),
        trial.seed,
        list(trial.crop),
        trial.preparation.plain(),
        scans.fingerprint,
        [scans.example.case_id, *(query.case_id for query in scans.queries)],
        dict(scans.structures),
        *([trial.began] if trial.began else []),
    ]
    key, path = text_hash(facts), run / FLOORS
    try:
        held = read_json(path)
        if held["key"] == key:
            return {name: dict(held[name]) for name in ("untrained", "affine")}, True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    first = trial.first or build_network(trial.preset, seed=trial.seed)
    net = copy.deepcopy(first).eval().requires_grad_(False).to(trial.device)
    untrained = trial.score(net, scans).dice
    floors = {"untrained": untrained, "affine": score_affine(scans).dice}
    queries = [query.case_id for query in scans.queries]
    write_json(path, {"key": key, "example": scans.example.case_id, "queries": queries, **floors})
    return floors, False
