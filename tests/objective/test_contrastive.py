"""InfoNCE over whole scans, and the queue of earlier views."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F

from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.presets import CorrespondencePreset
from mass3d.objective.contrastive import NOBODY, QUEUE, TEMPERATURE, WIDTH, Contrastive, contrast


def units(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def test_the_loss_is_that_of_a_plain_loop() -> None:
    torch.manual_seed(0)
    first, second, queue = units(3, 8), units(3, 8), units(5, 8)
    owners = torch.tensor([4, 7, 4])  # one scan twice
    queued = torch.tensor([7, 1, NOBODY, 2, 4])
    both = [*zip(first, owners.tolist(), strict=True), *zip(second, owners.tolist(), strict=True)]
    earlier = list(zip(queue, queued.tolist(), strict=True))
    losses, right = [], []
    for number, (view, owner) in enumerate(both):
        partner = float(view @ both[(number + 3) % 6][0]) / TEMPERATURE
        others = [
            float(view @ other) / TEMPERATURE
            for other, of in (*both, *earlier)
            if of not in (owner, NOBODY)
        ]
        losses.append(math.log(sum(map(math.exp, [partner, *others]))) - partner)
        right.append(partner > max(others))
    found = contrast(first, second, owners, queue, queued)
    torch.testing.assert_close(float(found.loss), sum(losses) / 6, rtol=1e-5, atol=0)
    assert float(found.accuracy) == pytest.approx(sum(right) / 6)


def test_the_queue_holds_the_latest_views() -> None:
    network = build_network(CorrespondencePreset(channels=(8, 16, 24), keys=4), seed=0)
    model = Contrastive(cast("CorrespondenceNet", network))
    vectors, owners = units(QUEUE + 6, WIDTH), torch.arange(QUEUE + 6)
    for some, whose in zip(vectors.split(7), owners.split(7), strict=True):
        model.remember({"views": some, "owners": whose})
        assert int((model.owners != NOBODY).sum()) == min(QUEUE, int(whose[-1]) + 1)
    kept = model.owners.argsort()
    assert torch.equal(model.owners[kept], owners[6:])
    assert torch.equal(model.queue[kept], vectors[6:])
    model.remember({"views": vectors, "owners": owners})  # more at once than there is room for
    kept = model.owners.argsort()
    assert torch.equal(model.owners[kept], owners[6:])
    assert torch.equal(model.queue[kept], vectors[6:])
    seen = model(torch.randn(2, 1, 16, 16, 16))
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(2))
