"""The optimisers, beside their papers' formulas, and what they remember."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from mass3d.model.presets import OptimizerName, Recipe
from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit
from mass3d.training.optimizers import (
    OPTIMIZERS,
    make_optimizer,
    read_state,
    restore_state,
    set_rate,
)
from mass3d.training.run_files import METRICS
from oracles import training as oracle


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


NAMES = sorted(OPTIMIZERS)
RATE, DECAY = 0.03, 0.4


def recipe(name: OptimizerName) -> Recipe:
    return Recipe(optimizer=name, lr=RATE, weight_decay=DECAY)


def weights() -> nn.ParameterList:
    """A kernel, a matrix and a bias."""
    generator = torch.Generator().manual_seed(5)
    return nn.ParameterList(
        nn.Parameter(torch.randn(shape, generator=generator))
        for shape in ((6, 4, 3, 3, 3), (5, 7), (5,))
    )


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(weight.shape, generator=generator) for weight in weights()]


def take(optimizer: torch.optim.Optimizer, parameters: nn.ParameterList, steps: range) -> None:
    for step in steps:
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


@pytest.mark.parametrize("momentum", ["auto", 0.5])
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_updates_are_those_of_the_paper(
    name: OptimizerName, momentum: float | Literal["auto"]
) -> None:
    parameters = weights()
    take(make_optimizer(parameters, recipe(name), momentum=momentum), parameters, range(4))
    plain = {"adamw": oracle.adamw, "lamb": oracle.lamb}[name]
    for index, (before, after) in enumerate(zip(weights(), parameters, strict=True)):
        expected = plain(
            before.flatten().tolist(),
            [gradients(step)[index].flatten().tolist() for step in range(4)],
            lr=RATE,
            decay=DECAY if before.ndim > 1 else 0.0,
            momentum=0.9 if momentum == "auto" else momentum,
        )
        torch.testing.assert_close(after.flatten(), torch.tensor(expected), rtol=2e-5, atol=1e-6)


def test_muon_without_momentum_follows_the_last_gradient_alone() -> None:
    moved = []
    for first in (range(1), range(7, 8)):
        parameters = weights()
        settings = recipe("muon").model_copy(update={"weight_decay": 0.0})
        optimizer = make_optimizer(parameters, settings, momentum=0.0)
        take(optimizer, parameters, first)
        before = parameters[0].detach().clone()
        take(optimizer, parameters, range(1, 2))
        moved.append(parameters[0].detach() - before)
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("momentum", "expected"), [("auto", (0.9, 0.95)), (0.5, (0.5, 0.95))])
def test_the_momentum_of_muon_is_that_of_norms_and_biases_too(
    momentum: float | Literal["auto"], expected: tuple[float, float]
) -> None:
    groups = make_optimizer(weights(), recipe("muon"), momentum=momentum).param_groups
    assert [group["betas"] for group in groups if not group["use_muon"]] == [expected]
    kernels = 0.95 if momentum == "auto" else momentum
    assert [group["momentum"] for group in groups if group["use_muon"]] == [kernels]


@pytest.mark.parametrize("name", NAMES)
def test_the_momentum_of_a_run_is_the_one_that_was_set_at_every_step(
    tmp_path: Path, name: OptimizerName
) -> None:
    """A schedule that turns the momentum, too, overrides what was set."""

    def batches(step: int, device: torch.device) -> int:
        del device
        return step

    def step(model: nn.Module, number: int, context: StepContext) -> StepOutcome:
        del context
        loss = sum(
            (p * g).sum() for p, g in zip(model.parameters(), gradients(number), strict=True)
        )
        return StepOutcome(torch.as_tensor(loss), {}, ())

    settings = FitConfig(
        steps=4, optimizer=name, lr=RATE, momentum=0.5, clip=1e9, ema_decay=0, precision="32-true"
    )
    found = fit(weights(), batches, step, settings, run=tmp_path, facts={})
    expected = weights()
    optimizer = make_optimizer(expected, settings, momentum=0.5)
    for number in range(4):
        set_rate(optimizer, oracle.rate(number, 4, peak=RATE))
        take(optimizer, expected, range(number, number + 1))
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_momentum_that_is_not_set_is_no_fact_of_a_run() -> None:
    """So that runs that began before it could be set go on."""
    assert "momentum" not in FitConfig().decisive()
    assert FitConfig(momentum=0.9).decisive()["momentum"] == 0.9


def test_muon_turns_kernels_by_directions_of_equal_weight() -> None:
    parameters = weights()
    settings = recipe("muon").model_copy(update={"weight_decay": 0.0})
    take(make_optimizer(parameters, settings), parameters, range(1))
    for index in (0, 1):
        moved = (parameters[index] - weights()[index]).detach().flatten(1)
        sizes = torch.linalg.svdvals(moved) / (0.2 * RATE * max(moved.shape) ** 0.5)
        assert 0.6 < sizes.min() <= sizes.max() < 1.3  # five rounds of Newton and Schulz
        # the gradient's own directions: nothing but the sizes is changed
        left, _, right = torch.linalg.svd(gradients(0)[index].flatten(1), full_matrices=False)
        along = -left.T @ moved @ right.T
        off = along - torch.diag(along.diag())
        assert along.diag().min() > 0
        assert off.abs().max() < 0.05 * along.diag().max()
    bias = (parameters[2] - weights()[2]).detach()
    torch.testing.assert_close(bias, -RATE * gradients(0)[2].sign(), rtol=1e-3, atol=0)


def test_muon_keeps_the_last_bit_of_a_gradient_a_last_bit() -> None:
    """In 16 bits updates of gradients that differ by rounding differed by half a percent."""
    settings = recipe("muon").model_copy(update={"weight_decay": 0.0})
    moved = []
    for noise in (0.0, 1e-7):
        parameters = weights()
        for parameter, gradient in zip(parameters, gradients(0), strict=True):
            parameter.grad = gradient * (1 + noise * torch.randn_like(gradient))
        make_optimizer(parameters, settings).step()
        moved.append([(p - q).detach() for p, q in zip(parameters, weights(), strict=True)])
    for one, other in zip(*moved, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_means_the_same_for_each(name: OptimizerName) -> None:
    """A step moves a number by about the rate: a fifth for Muon, its own size for LAMB."""
    parameters = weights()
    settings = recipe(name).model_copy(update={"weight_decay": 0.0})
    take(make_optimizer(parameters, settings), parameters, range(1))
    moved = (parameters[0] - weights()[0]).detach().square().mean().sqrt() / RATE
    typical = {"adamw": 1.0, "lamb": 10 / weights()[0].numel() ** 0.5, "muon": 0.2}[name]
    assert float(moved) == pytest.approx(typical, rel=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_weights_without_a_gradient_stay(name: OptimizerName) -> None:
    parameters = weights()
    optimizer = make_optimizer(parameters, recipe(name))
    parameters[0].grad = torch.ones_like(parameters[0])
    optimizer.step()
    same = [torch.equal(p, q) for p, q in zip(parameters, weights(), strict=True)]
    assert same == [False, True, True]


@pytest.mark.parametrize("name", NAMES)
def test_only_matrices_and_kernels_decay(name: OptimizerName) -> None:
    parameters = weights()
    optimizer = make_optimizer(parameters, recipe(name))
    decays = {
        parameter.ndim > 1: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {True: DECAY, False: 0.0}


def test_frozen_weights_are_left_out() -> None:
    parameters = weights()
    parameters[1].requires_grad_(False)
    groups = make_optimizer(parameters, recipe("adamw")).param_groups
    held = {id(parameter) for group in groups for parameter in group["params"]}
    assert held == {id(parameters[0]), id(parameters[2])}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_goes_through_tensors_and_json(name: OptimizerName) -> None:
    whole = weights()
    take(make_optimizer(whole, recipe(name)), whole, range(5))

    parameters = weights()
    first = make_optimizer(parameters, recipe(name))
    take(first, parameters, range(3))
    tensors, numbers = read_state(first)
    copies = {key: tensor.clone() for key, tensor in tensors.items()}

    continued = nn.ParameterList(
        nn.Parameter(parameter.detach().clone()) for parameter in parameters
    )
    second = make_optimizer(continued, recipe(name))
    restore_state(second, copies, json.loads(json.dumps(numbers)))
    take(second, continued, range(3, 5))
    for ours, theirs in zip(continued, whole, strict=True):
        assert torch.equal(ours, theirs)
