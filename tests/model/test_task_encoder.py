"""Task tokens: each mask by itself, against a loop over voxels, and finite when it is empty."""

from __future__ import annotations

import torch
from torch import Tensor

from mass3d.model.task_encoder import TaskEncoder, masked_mean

CHANNELS = (2, 4, 6)


def encoder() -> TaskEncoder:
    torch.manual_seed(0)
    return TaskEncoder(CHANNELS, dim=8, tokens=3).eval()


def maps() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 2, 8, 8, 8), (2, 4, 4, 4, 4), (2, 6, 2, 2, 2)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def masks(number: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.rand((2, number, 8, 8, 8), generator=generator) > 0.8).float()


def test_a_masked_mean_is_a_loop_over_voxels() -> None:
    features, weights = torch.randn(2, 3, 2, 2, 2), torch.rand(2, 4, 2, 2, 2)
    found = masked_mean(features, weights)
    for b in range(2):
        for k in range(4):
            total, amount = torch.zeros(3), 0.0
            for place in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
                weight = float(weights[(b, k, *place)])
                total += weight * features[(b, slice(None), *place)]
                amount += weight
            torch.testing.assert_close(found[b, k], total / amount)


def test_tokens_have_their_shape_and_masks_do_not_see_each_other() -> None:
    net = encoder()
    together = net(maps(), masks())
    assert together.shape == (2, 5, 3, 8)
    for k in range(5):
        torch.testing.assert_close(net(maps(), masks()[:, k : k + 1])[:, 0], together[:, k])


def test_an_empty_and_a_full_mask_give_finite_tokens_that_differ() -> None:
    net = encoder()
    empty, full = net(maps(), torch.zeros(2, 1, 8, 8, 8)), net(maps(), torch.ones(2, 1, 8, 8, 8))
    assert torch.isfinite(empty).all()
    assert torch.isfinite(full).all()
    assert not torch.allclose(empty, full)


def test_the_full_resolution_map_is_not_looked_at() -> None:
    net, one, other = encoder(), maps(), maps()
    other[0] = torch.randn(2, 2, 8, 8, 8)
    assert torch.equal(net(one, masks()), net(other, masks()))


def test_where_a_mask_lies_decides_what_it_means() -> None:
    left, right = torch.zeros(2, 2, 1, 8, 8, 8)
    left[..., :4], right[..., 4:] = 1, 1
    net = encoder()
    assert not torch.allclose(net(maps(), left), net(maps(), right))
