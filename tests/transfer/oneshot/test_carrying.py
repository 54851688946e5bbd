"""One labelled head, and the same structures found in a bent one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from heads import SHAPE, bent, head
from mass3d.alignment.alignment import Alignment, places
from mass3d.alignment.geometry import sampled
from mass3d.transfer.oneshot.carrying import Found, carried, find
from mass3d.transfer.oneshot.reference import (
    LabelledScan,
    labelled_scan,
    tuned_head,
)
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.tune import labels_of, overlaps
from mass3d.volume.box import box_around, box_at

FEW = TuningConfig(views=4, held_out=2, voxels_per_view=2000, steps=60, batch=1024)


def labelled_head() -> tuple[Tensor, Tensor]:
    """A head and the bright tissue of two of its parts."""
    image = head()
    label = torch.zeros(SHAPE, dtype=torch.long)
    for number, part in enumerate(
        ((slice(15, 27), slice(20, 34)), (slice(27, 38), slice(34, 46))), 1
    ):
        bright = torch.zeros(SHAPE, dtype=torch.bool)
        bright[(*part, slice(18, 38))] = True
        label[bright & (image > 10)] = number
    return image, label


def queried() -> tuple[Tensor, Tensor]:
    """The head bent by two voxels, and its label."""
    image, label = labelled_head()
    truth = bent(2.0)
    masks = torch.stack([(label == number).float() for number in (1, 2)])
    query = sampled(image[None], truth, 1, (0, 0, 0))[0]
    return query, labels_of(sampled(masks, truth, 1, (0, 0, 0)))


def whole(found: Found) -> Tensor:
    """Mean of the votes in the whole scan: (S, D, H, W)."""
    out = torch.zeros(found.votes.shape[1], *SHAPE)
    out[(slice(None), *found.box)] = found.votes.mean(0)
    return out


def test_structures_are_found_in_a_bent_head() -> None:
    query, label = queried()
    found = find([labelled_scan(*labelled_head(), 2)], query)
    assert min(overlaps(whole(found), label)) > 0.75
    assert found.similarity[0] > 0.8
    box = box_around(label > 0)
    assert box
    assert all(a.start <= b.start < b.stop <= a.stop for a, b in zip(found.box, box, strict=True))


@pytest.mark.parametrize("turn", [0.0, 0.3, 0.6])
def test_each_structure_is_carried_as_the_whole_label_is(turn: float) -> None:
    image, label = labelled_head()
    label[30:33, 50:52, 10:13] = 3
    reference = labelled_scan(image, label, 4)  # the fourth is nowhere
    affine = torch.tensor([[1.05, 0, 0, 2], [0, 0.9, 0, -3], [0, 0, 1, 4.5]])
    cos, sin = math.cos(turn), math.sin(turn)
    affine[1:, 1:3] = affine[1:, 1:3] @ torch.tensor([[cos, -sin], [sin, cos]])
    box = box_at((3, 0, 5), (45, 60, 40))
    way = Alignment(affine, None, box, SHAPE)
    found = carried(reference, way, box)
    numbers = torch.arange(1, 5).view(4, 1, 1, 1)
    masks = (reference.label == numbers).float()
    expected = sampled(masks, places(way, box), 1, reference.origin)
    assert torch.equal(found, expected)
    assert found[:2].sum() > 100


def test_references_agree_as_far_as_their_votes_overlap() -> None:
    votes = torch.zeros(3, 4, 1, 2, 4)  # three references, four structures
    votes[0, 0, 0, 0] = votes[1, 0, 0, :, :2] = 0.9  # four voxels each, two of them shared
    votes[2, 0] = 0.4  # nothing
    votes[0, 1] = votes[1, 1] = 0.8  # the third does not vote
    votes[0, 2] = 0.7  # nobody else votes
    voting = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1]], dtype=torch.bool)
    found = Found(box_at((0, 0, 0), (1, 2, 4)), votes, votes, (1.0, 1.0, 1.0), voting)
    assert found.agreement == [pytest.approx((0.5 + 0 + 0) / 3), 1.0, None, None]


def test_a_reference_finds_itself() -> None:
    image, label = labelled_head()
    assert min(overlaps(whole(find([labelled_scan(image, label, 2)], image)), label)) > 0.95


def test_a_tuned_head_says_where_it_is_used() -> None:
    image, label = labelled_head()
    tuned = tuned_head(image, label, 2, FEW)
    assert tuned
    plain = labelled_scan(image, label, 2)
    better = LabelledScan(plain.features, plain.label, plain.origin, 2, tuned)
    query, _ = queried()
    before, after = (find([one], query).votes[0] for one in (plain, better))
    for number, used in enumerate(tuned.used.tolist()):
        assert before[number].equal(after[number]) != used


def test_each_reference_votes_and_a_structure_it_does_not_show_gets_none() -> None:
    image, label = labelled_head()
    first, second = (labelled_scan(image, label * (label == number), 2) for number in (1, 2))
    assert first.present.tolist() == [True, False]
    votes = find([first, second], queried()[0]).votes
    assert votes.shape[:2] == (2, 2)
    assert votes[0, 1].sum() == votes[1, 0].sum() == 0
    assert votes[0, 0].sum() > 0


def test_a_label_of_nothing_finds_nothing() -> None:
    image, label = labelled_head()
    empty = labelled_scan(image, label * 0, 2)
    assert not empty.present.any()
    assert find([empty], image).votes.sum() == 0
    assert tuned_head(image, label * 0, 2, FEW) is None


@pytest.mark.parametrize("shape", [(4, 5, 3), (40, 9, 30)])
def test_a_scan_that_shows_little_is_searched_all_the_same(shape: tuple[int, int, int]) -> None:
    query = head()[: shape[0], : shape[1], : shape[2]]
    assert find([labelled_scan(*labelled_head(), 2)], query).votes.isfinite().all()
