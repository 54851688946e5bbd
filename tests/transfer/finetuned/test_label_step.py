"""A step of finetuning, whatever the precision of the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mass3d.objective.label_loss import label_losses
from mass3d.training.step import StepContext
from mass3d.transfer.finetuned.learn import label_step
from mass3d.views.labelled import UNKNOWN, LabelledViews

CLASSES = 14
SHAPE = (12, 10, 8)


class Halved(nn.Module):
    """Answers in 16 bits, as under automatic precision."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, image: Tensor) -> Tensor:
        del image
        return self.logits.bfloat16()


def test_the_loss_of_16_bits_is_taken_in_32_and_a_label_is_one_map_for_all_classes() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn((2, CLASSES, *SHAPE), generator=draw)
    label = torch.randint(0, CLASSES, (2, *SHAPE), generator=draw)
    views = LabelledViews(torch.zeros(2, 1, *SHAPE), label, None, ("a", "b"))
    net = Halved(logits)
    context = StepContext(0, torch.Generator(), net)
    found = label_step(net, views, context)
    expected = label_losses(logits.bfloat16().float(), label, None, ignored=UNKNOWN)
    assert found.loss.dtype == torch.float32
    assert torch.equal(found.loss, expected.total)
    found.loss.backward()
    assert net.logits.grad is not None
    assert net.logits.grad.isfinite().all()
    assert views.label.numel() == logits.numel() // CLASSES
