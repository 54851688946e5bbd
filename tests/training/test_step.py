"""What a step is given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mass3d.training.step import StepContext, StepOutcome, take_step


def drawn(model: nn.Module, batch: int, context: StepContext) -> StepOutcome:
    """A number of its own generator, and one of the global one, which dropout draws from."""
    own = torch.rand((), generator=context.generator)
    return StepOutcome(own, {"of_layers": model(torch.ones(64)).sum()}, (str(batch),))


def take(**changes: int) -> tuple[float, float]:
    values = {"done": 4, "seed": 9, "number": 6} | changes
    model = nn.Dropout(0.5)
    outcome = take_step(
        drawn,
        model,
        1,
        averaged=model,
        done=values["done"],
        seed=values["seed"],
        number=values["number"],
    )
    return float(outcome.loss), float(outcome.figures["of_layers"])


def test_what_is_drawn_depends_on_seed_and_number_alone() -> None:
    torch.manual_seed(1)
    first = take()
    torch.manual_seed(2)
    assert take() == first
    assert take(done=5) == first
    many = {take(seed=seed, number=number) for seed in range(4) for number in range(4)}
    assert len({own for own, _ in many}) == 16
    assert len({layers for _, layers in many}) > 4  # sums of 64 values that stay or go


def test_a_step_on_a_cpu_looks_at_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = take()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)  # of which none answers
    assert take() == expected


def test_drawing_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    take()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_context_holds_step_and_average() -> None:
    seen: list[StepContext] = []
    averaged = nn.Identity()

    def step(model: nn.Module, batch: Tensor, context: StepContext) -> StepOutcome:
        seen.append(context)
        return StepOutcome(batch.sum(), {}, ())

    outcome = take_step(
        step, nn.Identity(), torch.ones(2), averaged=averaged, done=17, seed=0, number=35
    )
    assert float(outcome.loss) == 2
    assert seen[0].step == 17
    assert seen[0].averaged is averaged
