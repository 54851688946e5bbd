"""The average of the weights, beside one that is kept number by number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mass3d.training.ema import Ema
from oracles import training as oracle


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.9999])
def test_every_weight_is_followed(decay: float) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    ema = Ema(model, decay=decay)
    taken = [[p.detach().clone() for p in model.parameters()]]
    for step in range(12):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ema.update(model, step)
        taken.append([p.detach().clone() for p in model.parameters()])
    for index, average in enumerate(ema.model.parameters()):
        for place in range(average.numel()):
            start, *values = (float(now[index].flatten()[place]) for now in taken)
            expected = oracle.averages(values, start=start, decay=decay)
            assert float(average.flatten()[place]) == pytest.approx(expected, abs=1e-5)


def test_buffers_are_copied_and_nothing_is_trained() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    ema = Ema(model, decay=0.99)
    model(torch.randn(5, 3) + 4)
    ema.update(model, 0)
    for ours, theirs in zip(ema.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours is not theirs
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
