from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mass3d.transfer.tuning import tune as tuning
from mass3d.transfer.tuning.settings import SimulationConfig, TuningConfig
from mass3d.transfer.tuning.simulate import simulate_view
from mass3d.transfer.tuning.tune import corrected, dice_of, labels_of, overlaps, tune

SHAPE = (24, 28, 26)
QUICK = TuningConfig(
    views=6, held_out=2, voxels_per_view=2000, steps=120, batch=1024,
    simulation=SimulationConfig(residual_vox=1.2),
)  # fmt: skip


def scene(contrast: float = 2.0) -> tuple[Tensor, Tensor]:
    """Two bodies, one within the other, brighter by `contrast`: image and label (D, H, W)."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = torch.stack(axes).norm(dim=0)
    label = (radius < 0.7).long() + (radius < 0.4).long()
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return label * contrast + 0.3 * noise, label


def dice_on_new_views(head: tuning.VoxelHead) -> tuple[float, float]:
    """Mean Dice of the prior and of the head."""
    image, label = scene()
    before, after = [], []
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        view = simulate_view(rng, image, label, 2, QUICK.simulation)
        before += overlaps(view.prior, view.label)
        after += overlaps(corrected(head, view.image, view.prior), view.label)
    return float(np.mean(before)), float(np.mean(after))


def test_dice_of_numbers_is_that_of_masks() -> None:
    draw = torch.Generator().manual_seed(0)
    found, label = torch.randint(0, 5, (2, 8, 9, 7), generator=draw)
    label[label == 2], found[found == 4], label[label == 4] = 0, 0, 0
    expected = []
    for number in range(1, 5):
        one, other = found == number, label == number
        expected.append(2 * int((one & other).sum()) / max(1, int(one.sum() + other.sum())))
    assert dice_of(found, label.to(torch.uint8), 4) == expected
    assert expected[1] == expected[3] == 0 < expected[0]


def test_a_tuned_head_is_better_than_what_is_carried_over() -> None:
    tuned = tune(*scene(), 2, QUICK)
    before, after = dice_on_new_views(tuned.head)
    assert after > before + 0.05
    assert tuned.used.all()
    assert min(tuned.tuned_dice) > 0.7


def test_a_head_that_learned_nothing_says_what_is_carried_over() -> None:
    image, label = scene()
    tuned = tune(image, label, 2, QUICK.model_copy(update={"steps": 1}))
    view = simulate_view(np.random.default_rng(5), image, label, 2, QUICK.simulation)
    found = labels_of(corrected(tuned.head, view.image, view.prior))
    assert (found != labels_of(view.prior)).float().mean() < 0.05


def test_where_an_image_shows_nothing_the_head_is_not_used_unless_it_is_better() -> None:
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    tuned = tune(image, scene()[1], 2, QUICK)
    for used, before, after in zip(tuned.used, tuned.carried_dice, tuned.tuned_dice, strict=True):
        assert bool(used) == (after > before)


def test_the_same_seed_gives_the_same_head() -> None:
    few = QUICK.model_copy(update={"steps": 5, "views": 2})
    one, same = (tune(*scene(), 2, few).head.state_dict() for _ in range(2))
    assert all(one[name].equal(same[name]) for name in one)
    other = tune(*scene(), 2, few.model_copy(update={"seed": 1})).head.state_dict()
    assert not all(one[name].equal(other[name]) for name in one)


def test_slabs_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    image, label = scene()
    few = QUICK.model_copy(update={"steps": 20, "views": 2})
    head = tune(image, label, 2, few).head
    prior = simulate_view(np.random.default_rng(3), image, label, 2, few.simulation).prior
    whole = corrected(head, image, prior)
    monkeypatch.setattr(tuning, "SLAB_VALUES", 5 * 4 * 3 * SHAPE[1] * SHAPE[2])
    torch.testing.assert_close(corrected(head, image, prior), whole, atol=1e-5, rtol=1e-5)


def test_far_from_the_prior_there_is_nothing() -> None:
    image, label = scene()
    head = tune(image, label, 2, QUICK.model_copy(update={"steps": 5, "views": 2})).head
    prior = torch.zeros(2, *SHAPE)
    assert corrected(head, image, prior).sum() == 0
    prior[0, 2, 2, 2] = 1
    assert corrected(head, image, prior)[:, 14:, 14:, 14:].sum() == 0


def test_views_of_large_structures_show_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of 12^3 voxels teach as well, in less memory."""
    monkeypatch.setattr(tuning, "VIEW_VALUES", 12**3 * 9)
    tuned = tune(*scene(), 2, QUICK)
    before, after = dice_on_new_views(tuned.head)
    assert after > before + 0.03
