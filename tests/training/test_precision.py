"""The first try that decides in which numbers a run computes."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.training.precision import (
    Trial,
    choose_precision,
    compare,
    require_usable,
    try_step,
)
from mass3d.training.step import StepOutcome

CPU = torch.device("cpu")


def trial(*, loss: float = 2.0, **gradients: list[float]) -> Trial:
    return Trial(loss, {name: torch.tensor(g) for name, g in gradients.items()})


def test_errors_are_relative_to_what_32_bits_give() -> None:
    full = trial(loss=4.0, a=[3.0, 4.0], b=[0.0, 12.0])
    half = trial(loss=4.1, a=[3.0, 5.0], b=[5.0, 12.0])
    found = compare(full, half)
    assert found.loss_error == pytest.approx(0.1 / 4)
    assert found.worst_error == pytest.approx(5 / 12)
    assert found.total_error == pytest.approx(math.sqrt(1 + 25) / 13)


def test_a_kernel_that_hardly_moves_does_not_decide() -> None:
    full = trial(a=[30.0, 40.0], still=[1e-4, 0.0])
    half = trial(a=[30.0, 41.0], still=[0.0, 1e-4])
    assert compare(full, half).passes
    alone = compare(trial(still=[1e-4, 0.0]), trial(still=[0.0, 1e-4]))
    assert not alone.passes


@pytest.mark.parametrize(
    "half",
    [
        trial(loss=2.2, a=[1.0, 0.0], b=[0.0, 8.0]),  # another loss
        trial(loss=math.nan, a=[1.0, 0.0], b=[0.0, 8.0]),
        trial(a=[0.4, 0.0], b=[0.0, 8.0]),  # one kernel that is off by more than half
        trial(a=[math.nan, 0.0], b=[0.0, 8.0]),
        trial(a=[math.inf, 0.0], b=[0.0, 8.0]),
        trial(a=[1.0, 0.0], b=[0.0, 6.0]),  # all of them a little too much
    ],
)
def test_wrong_numbers_are_refused(half: Trial) -> None:
    full = trial(a=[1.0, 0.0], b=[0.0, 8.0])
    assert compare(full, full).passes
    assert not compare(full, half).passes


class _WrongIn16Bits(torch.autograd.Function):
    """As it is in 32 bits; in 16 its gradient has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient if gradient.dtype == torch.bfloat16 else gradient


class Network(nn.Module):
    """Two convolutions, a norm that remembers, and biases that are no kernels."""

    def __init__(self, *, wrong: bool) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.first, self.last = nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 2, 1)
        self.norm, self.wrong = nn.BatchNorm3d(6), wrong

    def forward(self, image: Tensor) -> Tensor:
        features = self.norm(self.first(image))
        return self.last((_WrongIn16Bits.apply(features) if self.wrong else features).relu())


def run(model: nn.Module) -> StepOutcome:
    image = torch.randn(2, 1, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    return StepOutcome((model(image).float() - 1).square().mean(), {}, ())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_try_leaves_the_model_as_it_was(precision: Any) -> None:
    model = Network(wrong=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = try_step(model, run, CPU, precision)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(found.gradients) == {"first.weight", "last.weight"}
    assert all(gradient.dtype == torch.float32 for gradient in found.gradients.values())


def test_a_try_in_32_bits_gives_the_gradients_of_the_step() -> None:
    model = Network(wrong=False)
    found = try_step(model, run, CPU, "32-true")
    outcome = run(model)
    outcome.loss.backward()
    assert found.loss == pytest.approx(float(outcome.loss.detach()))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            assert parameter.grad is not None
            torch.testing.assert_close(found.gradients[name], parameter.grad)


class _OfLuckIn16Bits(torch.autograd.Function):
    """As it is in 32 bits; in 16 its gradient is nearly right, and another one each time."""

    tries = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if gradient.dtype != torch.bfloat16:
            return gradient
        _OfLuckIn16Bits.tries += 1
        return gradient * (1 + 0.03 * _OfLuckIn16Bits.tries)


class Lucky(Network):
    """Its gradients in 16 bits are never far off."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.norm(self.first(image))
        return self.last(_OfLuckIn16Bits.apply(features).relu())


def test_gradients_that_differ_from_try_to_try_are_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    knows_16_bits(monkeypatch, True)
    model = Lucky(wrong=False)
    found = compare(try_step(model, run, CPU, "32-true"), try_step(model, run, CPU, "bf16-mixed"))
    assert 0.01 < found.worst_error < 0.2
    assert found.change == pytest.approx(2 * 0.03, rel=0.2)
    assert choose_precision(model, run, CPU) == "32-true"


def knows_16_bits(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: answer)


@pytest.mark.parametrize(("wrong", "chosen"), [(False, "bf16-mixed"), (True, "32-true")])
def test_16_bits_are_taken_where_they_are_right(
    wrong: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows_16_bits(monkeypatch, True)
    assert choose_precision(Network(wrong=wrong), run, CPU) == chosen


def test_a_processor_without_them_tries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    knows_16_bits(monkeypatch, False)

    def never(model: nn.Module) -> StepOutcome:
        raise AssertionError("tried")

    assert choose_precision(Network(wrong=False), never, CPU) == "32-true"
    assert choose_precision(Network(wrong=False), never, torch.device("meta")) == "32-true"


def gpu(monkeypatch: pytest.MonkeyPatch, name: str, capability: int) -> torch.device:
    """A GPU as torch sees it. Each holds numbers of 16 bits, if only to imitate them."""
    told = SimpleNamespace(name=name, major=capability, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: told)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    return torch.device("cuda")


def test_a_gpu_that_has_16_bits_computes_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    device = gpu(monkeypatch, "A100", 8)
    assert choose_precision(Network(wrong=False), run, device) == "bf16-mixed"
    require_usable("bf16-mixed", device, Path("run"))


def test_a_gpu_that_imitates_16_bits_does_not_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    device = gpu(monkeypatch, "Tesla V100", 7)
    assert choose_precision(Network(wrong=False), run, device) == "32-true"
    require_usable("32-true", device, Path("run"))
    with pytest.raises(ConfigError, match=r"run: found a GPU without .* \(Tesla V100\)"):
        require_usable("bf16-mixed", device, Path("run"))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("has", [True, False])
def test_16_bits_that_must_be_imitated_are_refused(
    machine: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows_16_bits(monkeypatch, has)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    require_usable("32-true", CPU, Path("run"))
    require_usable("bf16-mixed", torch.device("meta"), Path("run"))
    if has or machine == "aarch64":  # whose processors are not asked
        require_usable("bf16-mixed", CPU, Path("run"))
    else:
        with pytest.raises(ConfigError, match=r"run: .*AVX512-BF16"):
            require_usable("bf16-mixed", CPU, Path("run"))
