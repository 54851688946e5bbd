"""What a cohort taught, in a file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mass3d.transfer.adaptation.learned import (
    Cohort,
    CohortFacts,
    Trusted,
    pack_cohort,
    unpack_cohort,
)
from mass3d.transfer.adaptation.network import CohortNetwork
from mass3d.transfer.oneshot.part import OneShotPart, pack_part, unpack_part

FACTS = CohortFacts(
    channels=(4, 8),
    window_vox=16,
    modalities=("mr",),
    trusted=(Trusted(name="a", similarity=0.5),),
    aligned=(0.5, None),
    learned=(0.6, None),
)


def cohort() -> Cohort:
    net = CohortNetwork(2, FACTS.channels)
    net.start(torch.Generator().manual_seed(0))
    half = {name: tensor.half().float() for name, tensor in net.state_dict().items()}
    net.load_state_dict(half)
    return Cohort(net.eval(), torch.tensor([True, False]), FACTS)


def test_a_cohort_comes_back_from_its_tensors() -> None:
    one = cohort()
    again = unpack_cohort(*pack_cohort(one), 2)
    assert again.facts == one.facts
    assert torch.equal(again.used, one.used)
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(again.net(image), one.net(image))


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("used"),
        lambda tensors: tensors.update(used=torch.ones(3, dtype=torch.bool)),
        lambda tensors: tensors.update(used=torch.ones(2)),
        lambda tensors: tensors.pop("net.out.weight"),
        lambda tensors: tensors.update({"net.out.weight": torch.zeros(1)}),
        lambda tensors: tensors.update(more=torch.zeros(1)),
    ],
)
def test_what_was_not_written_so_is_refused(change: Change) -> None:
    tensors, facts = pack_cohort(cohort())
    change(tensors)
    with pytest.raises(ValueError, match=r"another shape|other tensors"):
        unpack_cohort(tensors, facts, 2)


def test_windows_that_the_network_cannot_see_are_refused() -> None:
    tensors, facts = pack_cohort(cohort())
    with pytest.raises(ValueError, match="cannot see"):
        unpack_cohort(tensors, facts.model_copy(update={"window_vox": 15}), 2)


def test_a_part_keeps_its_cohort_in_a_file(part: OneShotPart) -> None:
    adapted = OneShotPart(part.scans, part.evidence, part.config, cohort())
    tensors, facts = pack_part(adapted)
    again = unpack_part(tensors, facts)
    assert again.cohort is not None
    assert again.cohort.facts == FACTS
    assert "cohort" not in pack_part(part)[1].plain()
    assert facts.plain()["cohort"]["modalities"] == ["mr"]
