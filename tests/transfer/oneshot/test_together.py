"""What references learn together from what each of them is told by the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from heads import SHAPE, bent, head, prepared_head
from mass3d.alignment.geometry import sampled
from mass3d.transfer.oneshot.carrying import Found
from mass3d.transfer.oneshot.evidence import Example, leave_one_out
from mass3d.transfer.oneshot.part import OneShotPart, make_part, pack_part, unpack_part
from mass3d.transfer.oneshot.reference import labelled_scan
from mass3d.transfer.oneshot.together import improved, tune_together
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.simulate import View
from mass3d.transfer.tuning.tune import TunedHead, labels_of, overlaps
from mass3d.volume.box import whole_box

QUICK = TuningConfig(views=6, held_out=2, voxels_per_view=2000, steps=150, batch=1024)
SMALL = (22, 26, 24)


def view(seed: int, *, off: int = 2, noise: float = 0.3) -> View:
    """Two bodies, one within the other, and a soft prior that is always `off` voxels away."""
    draw = torch.Generator().manual_seed(seed)
    middle = torch.rand(3, generator=draw) * 0.3 - 0.15
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SMALL], indexing="ij")
    radius = (torch.stack(axes) - middle.view(3, 1, 1, 1)).norm(dim=0)
    label = (radius < 0.7).long() + (radius < 0.4).long()
    image = 2.0 * label + noise * torch.randn(SMALL, generator=draw)
    masks = torch.stack([label == number for number in (1, 2)]).float()
    return View(image, label, F.avg_pool3d(masks.roll(off, 1), 3, 1, 1))


def as_found(one: View, *, believed: bool = True) -> Found:
    votes = one.prior[None]
    voting = torch.full((1, 2), believed)
    return Found(whole_box(SMALL), votes, votes, (1.0,), voting)


def test_an_error_that_alignments_always_make_is_learned() -> None:
    together = tune_together([view(seed) for seed in range(4)], QUICK)
    assert together is not None
    assert together.used.all()
    new = view(9)
    before = overlaps(new.prior, new.label)
    after = overlaps(improved(as_found(new), together, new.image).probabilities, new.label)
    for low, high in zip(before, after, strict=True):
        assert high > low + 0.03


def test_where_nobody_votes_nothing_is_made_up() -> None:
    together = tune_together([view(seed) for seed in range(4)], QUICK)
    assert together is not None
    found = as_found(view(9), believed=False)
    assert improved(found, together, view(9).image).probabilities.equal(found.probabilities)


def test_what_cannot_become_better_is_left_as_it_is() -> None:
    perfect = [view(seed, noise=30.0) for seed in range(4)]
    masks = [torch.stack([one.label == number for number in (1, 2)]).float() for one in perfect]
    perfect = [replace(one, prior=mask) for one, mask in zip(perfect, masks, strict=True)]
    assert tune_together(perfect, QUICK) is None


def test_one_reference_has_nothing_to_learn_from_others() -> None:
    empty = replace(view(1), label=torch.zeros(SMALL, dtype=torch.long))
    assert tune_together([view(0)], QUICK) is None
    assert tune_together([view(0), empty], QUICK) is None


def test_a_structure_that_no_view_knows_is_not_touched() -> None:
    views = []
    for seed in range(4):
        one = view(seed)
        known = torch.tensor([True, False])[:, None, None, None]
        views.append(replace(one, label=one.label * (one.label == 1), prior=one.prior * known))
    together = tune_together(views, QUICK)
    assert together is not None
    assert together.used.tolist() == [True, False]


def test_the_same_views_give_the_same_head() -> None:
    one, same = (tune_together([view(seed) for seed in range(3)], QUICK) for _ in range(2))
    assert one is not None
    assert same is not None
    states = one.head.state_dict(), same.head.state_dict()
    assert all(states[0][name].equal(states[1][name]) for name in states[0])


def two_heads() -> list[tuple[Tensor, Tensor]]:
    """A head with two structures, and the same one bent; the second shows the first alone."""
    image, label = head(), torch.zeros(SHAPE, dtype=torch.long)
    label[18:30, 20:34, 20:31], label[31:38, 20:34, 20:31] = 1, 2
    truth = bent(2.0)
    masks = torch.stack([(label == number).float() for number in (1, 2)])
    other = labels_of(sampled(masks, truth, 1, (0, 0, 0)))
    return [(image, label), (sampled(image[None], truth, 1, (0, 0, 0))[0], other * (other == 1))]


def test_views_of_references_know_only_what_several_of_them_show() -> None:
    examples = [Example(*pair, labelled_scan(*pair, 2)) for pair in two_heads()]
    views = leave_one_out(examples).views
    assert len(views) == 2
    for one in views:
        assert one.label.unique().tolist() == [0, 1]
        assert one.prior[0].max() > 0.9
        assert one.prior[1].max() == 0
        assert one.image.shape == one.label.shape == one.prior.shape[1:]


@pytest.fixture(scope="module")
def part() -> OneShotPart:
    scans = [replace(prepared_head(), image=image.numpy()) for image, _ in two_heads()]
    labels = [label.numpy() for _, label in two_heads()]
    few = QUICK.model_copy(update={"steps": 10, "views": 2, "held_out": 1})
    made = make_part(scans, labels, [1, 2], few)
    known = tune_together([view(seed) for seed in range(3)], QUICK)
    assert known is not None
    return replace(made, together=known)


def test_a_head_of_all_comes_back_from_a_file(part: OneShotPart) -> None:
    tensors, facts = pack_part(part)
    again = unpack_part(tensors, facts)
    assert isinstance(again.together, TunedHead)
    assert part.together is not None
    assert again.together.used.equal(part.together.used)
    assert again.together.tuned_dice == part.together.tuned_dice
    without = pack_part(replace(part, together=None))
    assert "together" not in without[1].plain()
    assert without[0].keys() < tensors.keys()


def test_a_changed_head_of_all_is_refused(part: OneShotPart) -> None:
    tensors, facts = pack_part(part)
    name = "scan.together.used"
    with pytest.raises(ValueError, match="shape"):
        unpack_part(tensors | {name: torch.ones(3, dtype=torch.bool)}, facts)


def test_scans_of_another_kind_are_answered_without_it(part: OneShotPart) -> None:
    image, without = two_heads()[0][0], replace(part, together=None)
    kind = part.scans[0].modality
    other = "ct" if kind != "ct" else "pet"
    same = part.find(image, modality=other).probabilities
    assert same.equal(without.find(image, modality=other).probabilities)
    mine = part.find(image, modality=kind).probabilities
    assert not mine.equal(without.find(image, modality=kind).probabilities)
