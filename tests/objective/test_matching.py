from typing import cast

import pytest
import torch
import torch.nn.functional as F

from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.presets import CorrespondencePreset
from mass3d.objective.matching import Side, classify_masks, draw_cells, match_keys, rough_priors

SHAPE = (8, 10, 6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def net() -> CorrespondenceNet:
    preset = CorrespondencePreset(channels=(8, 16), deep=1, keys=8)
    return cast("CorrespondenceNet", build_network(preset, seed=0))


def side(marked: float) -> Side:
    """A mask whose cells have `marked` in the first feature; the prior is a box around it."""
    masks = torch.zeros(1, 2, *SHAPE)
    masks[:, 0, 2:5, 3:6, 2:4] = 1
    prior = torch.zeros_like(masks)
    prior[:, 0, 1:6, 2:7, 1:5] = 0.5
    features = torch.randn(1, 8, *SHAPE, generator=generator(1))
    features[:, 0] = marked * masks[:, 0] + 0.01 * features[:, 0]
    image = torch.zeros(1, 1, *(2 * n for n in SHAPE))
    return Side(image, features, masks, prior)


def test_what_features_tell_is_learned_in_closed_form(net: CorrespondenceNet) -> None:
    valid = torch.tensor([[True, False]])
    told = classify_masks(net, side(3.0), side(3.0), valid, generator())
    hidden = classify_masks(net, side(0.0), side(0.0), valid, generator())
    assert told.accuracy > 0.97
    assert told.accuracy > hidden.accuracy
    assert told.loss < hidden.loss
    assert 0 < told.prior_accuracy < told.accuracy


def test_masks_that_are_not_valid_do_not_count(net: CorrespondenceNet) -> None:
    shown = side(3.0)
    changed = shown._replace(masks=shown.masks.clone())
    changed.masks[:, 1, 0] = 1
    valid = torch.tensor([[True, False]])
    losses = [
        classify_masks(net, shown, query, valid, generator()).loss for query in (shown, changed)
    ]
    torch.testing.assert_close(losses[0], losses[1])
    none = classify_masks(net, shown, shown, torch.zeros(1, 2, dtype=torch.bool), generator())
    assert float(none.loss.detach()) == 0


def test_the_gradient_goes_through_the_fit(net: CorrespondenceNet) -> None:
    reference, query = side(1.0), side(1.0)
    reference.features.requires_grad_()
    valid = torch.tensor([[True, True]])
    classify_masks(net, reference, query, valid, generator()).loss.backward()
    assert reference.features.grad is not None
    assert reference.features.grad.abs().sum() > 0
    assert net.log_penalty.grad is not None
    net.zero_grad()


def test_cells_are_drawn_by_their_weights_alone() -> None:
    weights = torch.tensor([[[0.0, 1.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.0]]])
    cells = draw_cells(weights, 4000, generator())
    assert set(cells[0, 0].tolist()) == {1, 3}
    assert set(cells[0, 1].tolist()) == {0}
    assert float((cells[0, 0] == 3).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_some_priors_are_made_rough() -> None:
    prior = torch.zeros(400, 1, 4, 4, 4)
    prior[:, :, 1, 1, 1] = 1
    near, _ = rough_priors((prior, prior), generator())
    rough = near[0][:, 0, 1, 1, 1] < 1
    assert 0.2 < float(rough.float().mean()) < 0.4
    assert torch.equal(near[0], near[1])


def test_keys_that_match_at_the_true_places_cost_little(net: CorrespondenceNet) -> None:
    reference = F.normalize(torch.randn(1, 8, *SHAPE, generator=generator(2)), dim=1)
    query = reference.roll(1, 2)
    cells = torch.stack(
        torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij"), -1
    ).view(1, -1, 3)
    true = cells - torch.tensor([1.0, 0.0, 0.0])
    inside = true[..., 0] >= 0
    right = match_keys(net, (reference, query), true, inside, generator())
    wrong = match_keys(net, (reference, query), cells, inside, generator())
    assert right < wrong - 1


def test_a_pair_without_matches_costs_nothing_and_leaves_no_weight_out(
    net: CorrespondenceNet,
) -> None:
    keys = [torch.randn(1, 8, *SHAPE, requires_grad=True) for _ in range(2)]
    places = torch.zeros(1, 480, 3)
    nothing = torch.zeros(1, 480, dtype=torch.bool)
    net.zero_grad()
    loss = match_keys(net, (keys[0], keys[1]), places, nothing, generator())
    loss.backward()
    assert float(loss.detach()) == 0
    for given in (*keys, net.log_temperature):  # processes wait for the gradients of all
        assert given.grad is not None
        assert not given.grad.any()
