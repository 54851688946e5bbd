"""What is hidden from a trunk is nothing to it, at every scale."""

from __future__ import annotations

import pytest
import torch

from mass3d.model.blocks import norm
from mass3d.model.masked import keep_at_scales, masked_maps, masked_norm, spread
from mass3d.model.trunk import Trunk

EDGES = (16, 24, 32)


@pytest.fixture
def trunk() -> Trunk:
    torch.manual_seed(0)
    return Trunk((8, 16, 24), deep=2).eval()


@pytest.fixture
def keep() -> torch.Tensor:
    torch.manual_seed(1)
    keep = (torch.rand(2, 1, *(n // 8 for n in EDGES)) < 0.4).float()
    keep[:, :, 0, 0, 0] = 1
    return keep


@torch.no_grad()
def test_what_is_hidden_changes_nothing_and_is_zero_in_every_map(
    trunk: Trunk, keep: torch.Tensor
) -> None:
    image = torch.randn(2, 1, *EDGES)
    seen = spread(keep, trunk.stride)
    other = torch.where(seen > 0, image, 100 * torch.randn_like(image))
    first, second = (masked_maps(trunk, one, keep) for one in (image, other))
    for one, two, kept in zip(first, second, keep_at_scales(keep, 3), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one * (1 - kept), torch.zeros_like(one))
        assert one.abs().sum() > 0


@torch.no_grad()
def test_with_nothing_hidden_the_maps_are_those_of_the_trunk(trunk: Trunk) -> None:
    image = torch.randn(2, 1, *EDGES)
    keep = torch.ones(2, 1, *(n // 8 for n in EDGES))
    plain, masked = trunk.descend(image), masked_maps(trunk, image, keep)
    for one, two in zip(plain, masked, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_the_norm_is_that_of_the_kept_cells_alone() -> None:
    layer = norm(16)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    keep = (torch.rand(1, 1, 2, 3, 4) < 0.5).float()
    keep[..., 0] = 1
    x = (3 + torch.randn(1, 16, 2, 3, 4)) * keep
    chosen = keep[0, 0] > 0
    plain = layer(x[:, :, chosen][..., None, None])[..., 0, 0]  # kept cells in a row
    torch.testing.assert_close(masked_norm(layer, x, keep)[:, :, chosen], plain)
