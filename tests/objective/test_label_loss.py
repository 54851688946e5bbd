from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.objective.label_loss import label_losses, mean_dice, with_background

IGNORED = 255
SHAPE = (6, 5, 4)


def made(classes: int = 4, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn((batch, classes, *SHAPE), generator=draw)
    label = torch.randint(0, classes, (batch, *SHAPE), generator=draw)
    return logits, label, torch.ones(batch, classes - 1, dtype=torch.bool)


def test_it_is_cross_entropy_and_soft_dice_of_the_structures() -> None:
    logits, label, known = made()
    found = label_losses(logits, label, known, ignored=IGNORED)
    same = label_losses(logits, label, None, ignored=IGNORED)
    assert same.total == pytest.approx(float(found.total))
    assert found.cross_entropy == pytest.approx(float(F.cross_entropy(logits, label)))
    shares = logits.softmax(1)
    terms = []
    for number in (1, 2, 3):
        truth = label == number
        overlap = 2 * float(shares[:, number][truth].sum()) + 1
        terms.append(1 - overlap / (float(shares[:, number].sum()) + int(truth.sum()) + 1))
    assert found.dice == pytest.approx(sum(terms) / 3, abs=1e-5)
    assert found.total == pytest.approx(float(found.cross_entropy + found.dice))


def test_regions_are_overlapping_targets_of_the_dice() -> None:
    logits, label, _ = made()
    label[0, 0] = IGNORED
    members = {0: (1, 2, 3), 1: (2, 3), 2: (3,)}
    table = torch.tensor([[number in some for number in (1, 2, 3)] for some in members.values()])
    found = label_losses(logits, label, None, ignored=IGNORED, regions=table)
    counted = label != IGNORED
    terms = []
    for some in members.values():
        truth = torch.isin(label, torch.tensor(some)) & counted
        claim = logits.softmax(1)[:, list(some)].sum(1) * counted
        overlap = 2 * float(claim[truth].sum()) + 1
        terms.append(1 - overlap / (float(claim.sum()) + int(truth.sum()) + 1))
    assert found.dice == pytest.approx(sum(terms) / 3, abs=1e-5)
    plain = label_losses(logits, label, None, ignored=IGNORED)
    assert found.cross_entropy == plain.cross_entropy
    single = label_losses(logits, label, None, ignored=IGNORED, regions=torch.eye(3).bool())
    assert single.dice == pytest.approx(float(plain.dice), abs=1e-6)


def test_a_structure_that_the_batch_does_not_show_has_no_dice() -> None:
    logits, label, known = made()
    label[label == 2] = 0
    found = label_losses(logits, label, known, ignored=IGNORED)
    without = torch.cat([logits[:, :2], logits[:, 3:]], 1)
    shown = label.where(label < 3, label - 1)
    # the probability of the absent one is still spent: taken away, the others have more
    assert found.dice > label_losses(without, shown, known[:, 1:], ignored=IGNORED).dice
    label[:] = 0
    found = label_losses(logits, label, known, ignored=IGNORED)
    assert found.dice == 0
    assert found.cross_entropy > 0


def test_voxels_that_are_ignored_do_not_matter() -> None:
    logits, label, known = made()
    label[:, 3:] = IGNORED
    other = logits.clone()
    other[:, :, 3:] += torch.randn_like(other[:, :, 3:])
    ours, theirs = (label_losses(one, label, known, ignored=IGNORED) for one in (logits, other))
    assert ours.total == pytest.approx(float(theirs.total))
    label[:] = IGNORED
    assert label_losses(logits, label, known, ignored=IGNORED).total == 0


def test_a_structure_that_may_be_there_is_not_punished() -> None:
    logits, label, known = made()
    label[label == 3] = 0
    known[:, 2] = False
    logits.requires_grad_()
    label_losses(logits, label, known, ignored=IGNORED).total.backward()
    assert logits.grad is not None
    # where nothing is labelled, its logit and that of the background are pushed up together
    background = label == 0
    assert (logits.grad[:, 3][background] < 0).all()
    merged = with_background(logits.detach(), known)
    torch.testing.assert_close(
        merged.softmax(1)[:, 0], logits.detach().softmax(1)[:, [0, 3]].sum(1)
    )
    assert torch.equal(merged.softmax(1)[:, 3], torch.zeros(2, *SHAPE))


def test_logits_of_known_structures_are_left_as_they_are() -> None:
    logits, _, known = made()
    torch.testing.assert_close(with_background(logits, known), logits)


def test_mean_dice_is_that_of_the_most_likely_classes_in_every_other_voxel() -> None:
    logits, label, _ = made()
    perfect = F.one_hot(label, 4).movedim(-1, 1).float()
    assert mean_dice(perfect, label) == 1
    label[label == 1] = 0
    label[0, 0] = IGNORED
    found, truth = (one[:, ::2, ::2, ::2] for one in (logits.argmax(1), label))
    expected = [
        2
        * int(((found == n) & (truth == n)).sum())
        / int(((found == n) & (truth != IGNORED)).sum() + (truth == n).sum())
        for n in (2, 3)
    ]
    assert mean_dice(logits, label) == pytest.approx(sum(expected) / 2)
