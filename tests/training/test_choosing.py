"""Weights that a judge chooses on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mass3d.training import checkpoint
from mass3d.training.choosing import Choice, Chosen, Judge
from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit
from mass3d.training.log import read_rows
from mass3d.training.resume import is_finished, read_record
from mass3d.training.run_files import METRICS, WEIGHTS

CONFIG = FitConfig(steps=12, lr=5e-2, log_every=1, save_every=3, precision="32-true", prefetch=0)
FACTS = {"what": "a line", "fit": CONFIG.decisive()}


class KilledError(Exception):
    """Stands for the end of the process."""


def batches(step: int, device: torch.device) -> Tensor:
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(step)).to(device)


def step(model: nn.Module, batch: Tensor, context: StepContext) -> StepOutcome:
    loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
    return StepOutcome(loss, {}, ("case_1",))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


class Script:
    """A judge that says what it was told to, and remembers what it saw."""

    def __init__(self, *scores: float) -> None:
        self.scores: Iterator[float] = iter(scores)
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self, model: nn.Module) -> float:
        assert not model.training
        self.seen.append({name: one.clone() for name, one in model.state_dict().items()})
        return next(self.scores)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_best_weights_are_delivered_and_the_scores_stated(tmp_path: Path) -> None:
    script = Script(0.1, 0.7, 0.7, 0.2)
    judge = Judge(script, every=4)
    given = fit(
        network(),
        batches,
        step,
        CONFIG.model_copy(update={"steps": 13}),
        run=tmp_path,
        facts=FACTS,
        judge=judge,
    )
    tensors, facts, _ = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    assert same(tensors, script.seen[1])
    assert same(dict(given.state_dict()), script.seen[1])
    chosen = Chosen.model_validate(facts["chosen"])
    assert [at for at, _ in chosen.scored] == [4, 8, 12, 13]  # the last update, too
    assert chosen.best == (8, 0.7)  # the first of those that are equal
    assert facts["step"] == 8
    assert is_finished(tmp_path, FACTS, steps=13)


def test_it_ends_after_as_many_scorings_without_a_gain(tmp_path: Path) -> None:
    script = Script(0.3, 0.4, 0.4, 0.1)
    fit(
        network(),
        batches,
        step,
        CONFIG,
        run=tmp_path,
        facts=FACTS,
        judge=Judge(script, every=2, patience=2),
    )
    assert len(script.seen) == 4
    assert len((tmp_path / METRICS).read_text().splitlines()) == 8
    assert checkpoint.read_facts(tmp_path / WEIGHTS, kind="weights")["step"] == 4


def test_what_was_learned_before_an_early_end_is_in_the_log(tmp_path: Path) -> None:
    """Found: the steps after the last full row were lost, and were not looked at for NaN."""
    config = CONFIG.model_copy(update={"log_every": 3})
    judge = Judge(Script(0.3, 0.4, 0.4, 0.1), every=2, patience=2)
    fit(network(), batches, step, config, run=tmp_path, facts=FACTS, judge=judge)
    assert [row["step"] for row in read_rows(tmp_path / METRICS)] == [3, 6, 8]


def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def good(model: nn.Module) -> float:
        weights = model.state_dict()["weight"]
        return -float((weights - 0.4).abs().sum())  # best on the way to 1, not at the end

    judge = Judge(good, every=2, patience=3)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    fit(network(), batches, step, CONFIG, run=whole, facts=FACTS, judge=judge)
    best = checkpoint.read_facts(whole / WEIGHTS, kind="weights")["chosen"]["scored"]
    assert len(best) >= 2

    for number in (1, 4, 5, 7):

        def dying(at: int, device: torch.device, number: int = number) -> Tensor:
            if at == number:
                raise KilledError
            return batches(at, device)

        with pytest.raises(KilledError):
            fit(network(), dying, step, CONFIG, run=killed, facts=FACTS, judge=judge)
    record = read_record(killed)
    assert record is not None
    assert record.scored
    fit(network(), batches, step, CONFIG, run=killed, facts=FACTS, judge=judge)
    for name in (WEIGHTS, METRICS):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()


def test_without_a_judge_nothing_is_scored_or_said(tmp_path: Path) -> None:
    given = fit(network(), batches, step, CONFIG, run=tmp_path, facts=FACTS)
    tensors, facts, _ = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    assert "chosen" not in facts
    assert same(tensors, dict(given.state_dict()))
    assert not Choice().is_over(None)
