"""What the references of a task say about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from heads import SHAPE, bent, head
from mass3d.alignment.geometry import sampled
from mass3d.transfer.oneshot.carrying import mean_of_votes
from mass3d.transfer.oneshot.evidence import Example, leave_one_out, own_query
from mass3d.transfer.oneshot.location import locate
from mass3d.transfer.oneshot.reference import box_around, labelled_scan, tuned_head
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.tune import labels_of

FEW = TuningConfig(views=2, held_out=1, voxels_per_view=1000, steps=20, batch=512)


def example(image: Tensor, label: Tensor, *, tuned: bool = False) -> Example:
    kept = labelled_scan(image, label, 2)
    if tuned:
        kept = replace(kept, head=tuned_head(image, label, 2, FEW))
    return Example(image, label, kept)


@pytest.fixture(scope="module")
def pair() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A head with two structures, and the same one bent."""
    image, label = head(), torch.zeros(SHAPE, dtype=torch.long)
    label[18:30, 20:34, 20:31], label[31:38, 20:34, 20:31] = 1, 2
    truth = bent(2.0)
    masks = torch.stack([(label == number).float() for number in (1, 2)])
    other = labels_of(sampled(masks, truth, 1, (0, 0, 0)))
    return (image, label), (sampled(image[None], truth, 1, (0, 0, 0))[0], other)


Pair = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def test_a_reference_that_is_not_tuned_redraws_itself(pair: Pair) -> None:
    assert min(dice or 0 for dice in own_query([example(*pair[0])])) > 0.95


def test_leaving_one_out_beats_affine_registrations_where_heads_are_bent(pair: Pair) -> None:
    chosen, evidence, _ = leave_one_out([example(*pair[0]), example(*pair[1])])
    assert len(chosen) == 2
    for others, affine in zip(evidence.others, evidence.affine, strict=True):
        assert others
        assert affine
        assert others > affine > 0.3


def test_a_head_is_used_where_it_is_better_on_the_other_reference(pair: Pair) -> None:
    examples = [example(*one, tuned=True) for one in pair]
    plain = [replace(one, kept=replace(one.kept, head=None)) for one in examples]
    chosen, evidence, _ = leave_one_out(examples)
    _, without, _ = leave_one_out(plain)
    for number, (one, other) in enumerate(zip(evidence.others, without.others, strict=True)):
        assert one is not None
        assert other is not None
        assert one >= other
        used = {bool(c.kept.head.used[number]) for c in chosen if c.kept.head}
        assert used == {one > other}


def test_a_structure_of_one_reference_alone_has_no_evidence_by_others(pair: Pair) -> None:
    (image, label), (other, truth) = pair
    only = example(other, truth * (truth == 1))
    _, evidence, _ = leave_one_out([example(image, label), only])
    assert evidence.others[1] is None
    assert evidence.affine[1] is None
    assert evidence.others[0]
    assert evidence.itself[1]


def test_references_vote_on_what_they_show() -> None:
    votes = torch.tensor([[[0.8, 0.2], [0.0, 0.0]], [[0.4, 0.6], [0.5, 0.1]]])
    present = torch.tensor([[True, False], [True, True]])
    expected = torch.tensor([[0.6, 0.4], [0.5, 0.1]])
    torch.testing.assert_close(mean_of_votes(votes, present), expected)


def test_structures_are_located_in_another_head(pair: Pair) -> None:
    (image, label), (other, truth) = pair
    places = locate([labelled_scan(image, label, 2)], other)
    for number, place in enumerate(places, 1):
        assert place
        box = box_around(truth == number)
        assert box
        for found, true in zip(place.box, box, strict=True):
            assert abs(found.start - true.start) <= 3
            assert abs(found.stop - true.stop) <= 3
        assert place.confidence > 0.4


def test_what_a_scan_does_not_show_has_no_place_or_little_confidence(pair: Pair) -> None:
    (image, label), _ = pair
    scan = labelled_scan(image, label * (label == 1), 2)
    right, nowhere = locate([scan], image)
    assert nowhere is None
    assert right
    noise = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    wrong = locate([scan], noise)[0]
    assert wrong is None or wrong.confidence < right.confidence - 0.3
