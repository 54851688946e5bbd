from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mass3d.model.presets import OptimizerName, Recipe
from mass3d.training.fit import METRICS, FitConfig, StepContext, StepOutcome, fit
from mass3d.training.optimizers import make_optimizer, set_rate


class Parts(nn.Module):
    """A trunk with a part of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.trunk(x))
        return found


def rates_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_parts_of_a_network_have_their_own_learning_rates(name: OptimizerName) -> None:
    model = Parts()
    rates = {"trunk.": 0.5, "trunk.1.": 0.25}
    optimizer = make_optimizer(model, Recipe(optimizer=name), rates)
    set_rate(optimizer, 0.08)
    found = rates_of(model, optimizer)
    assert found["trunk.0.weight"] == found["trunk.0.bias"] == pytest.approx(0.04)
    assert found["trunk.1.weight"] == pytest.approx(0.02)
    assert found["head.weight"] == found["head.bias"] == pytest.approx(0.08)
    sum(p.sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()


def test_norms_and_biases_are_not_decayed_in_any_part() -> None:
    model = Parts()
    optimizer = make_optimizer(model, Recipe(weight_decay=0.3), {"trunk.": 0.5})
    for group in optimizer.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_a_run_moves_its_parts_at_their_rates_and_logs_the_whole_rate(tmp_path: Path) -> None:
    def batches(step: int, device: torch.device) -> Tensor:
        del device
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(step))

    def step(model: nn.Module, batch: Tensor, context: StepContext) -> StepOutcome:
        del context
        return StepOutcome(model(batch).square().mean(), {}, ())

    before = Parts()
    first = {name: p.detach().clone() for name, p in before.named_parameters()}
    settings = FitConfig(
        steps=3, lr=1e-2, log_every=1, ema_decay=0, precision="32-true", schedule="constant"
    )
    found = fit(before, batches, step, settings, run=tmp_path, facts={}, rates={"trunk.": 0.0})
    moved = {name: not torch.equal(p, first[name]) for name, p in found.named_parameters()}
    assert moved["head.weight"]
    assert not moved["trunk.0.weight"]
    assert not moved["trunk.1.bias"]
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["lr"] for row in rows] == [1e-2] * 3
