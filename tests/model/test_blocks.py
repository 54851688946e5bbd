"""Blocks of networks against slow loops that say the same."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.model.blocks import (
    CrossAttention,
    Mlp,
    ResidualBlock,
    norm,
    pool_to,
    upsample_to,
    voxels_back,
    voxels_last,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _fixed_weights() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (8, 1), (16, 2), (12, 1), (24, 3), (20, 2)]
)
def test_groups_have_about_eight_channels_and_always_fit(channels: int, groups: int) -> None:
    assert norm(channels).num_groups == groups


def test_a_map_of_one_voxel_keeps_the_contrast_between_channels() -> None:
    out = norm(16)(random(1, 16, 1, 1, 1))
    assert out.std() > 0.5
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    ("width", "stride", "shape"), [(4, 1, (4, 6, 8)), (6, 1, (4, 6, 8)), (6, 2, (2, 3, 4))]
)
def test_a_residual_block_is_its_branch_plus_its_shortcut(
    width: int, stride: int, shape: tuple[int, int, int]
) -> None:
    block, x = ResidualBlock(4, width, stride=stride), random(2, 4, 4, 6, 8)
    out = block(x)
    assert out.shape == (2, width, *shape)
    with torch.no_grad():
        block.conv2.weight.zero_()
        shortcut = block(x)
    pooled = x.unfold(2, stride, stride).unfold(3, stride, stride).unfold(4, stride, stride)
    pooled = pooled.mean(dim=(5, 6, 7))
    torch.testing.assert_close(shortcut, block.project(pooled))
    assert not torch.allclose(out, shortcut)


@torch.no_grad()
def test_attention_is_what_a_loop_over_heads_and_queries_gives() -> None:
    attend, x, context = CrossAttention(8, 6, heads=2), random(2, 3, 8), random(2, 5, 6, seed=1)
    out = attend(x, context)
    query = attend.to_query(attend.norm_x(x))
    key, value = attend.to_key_value(attend.norm_context(context)).chunk(2, dim=-1)
    expected = torch.zeros(2, 3, 8)
    for b in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            for n in range(3):
                scores = [float(query[b, n, head] @ key[b, m, head]) / 2 for m in range(5)]
                weights = [math.exp(score) for score in scores]
                for m in range(5):
                    expected[b, n, head] += weights[m] / sum(weights) * value[b, m, head]
    torch.testing.assert_close(out, x + attend.to_out(expected), atol=1e-5, rtol=1e-4)


def test_the_order_of_the_context_does_not_matter() -> None:
    attend, x, context = CrossAttention(8, 6, heads=2), random(1, 3, 8), random(1, 5, 6, seed=1)
    torch.testing.assert_close(attend(x, context), attend(x, context.flip(1)))


def test_an_mlp_sees_one_row_at_a_time() -> None:
    mlp, x = Mlp(4, 8, 3), random(2, 5, 4)
    expected = torch.stack([torch.stack([mlp(row) for row in rows]) for rows in x])
    torch.testing.assert_close(mlp(x), expected)


def test_voxels_go_last_and_come_back() -> None:
    x = random(2, 3, 2, 4, 5)
    rows = voxels_last(x)
    assert torch.equal(rows[1, 1 * 20 + 2 * 5 + 3], x[1, :, 1, 2, 3])
    assert torch.equal(voxels_back(rows, x), x)


def test_upsampling_keeps_a_constant_and_takes_the_shape() -> None:
    out = upsample_to(torch.full((1, 2, 2, 3, 2), 7.0), torch.zeros(1, 1, 4, 5, 7))
    assert out.shape == (1, 2, 4, 5, 7)
    torch.testing.assert_close(out, torch.full_like(out, 7.0))


@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 6, 8), (1, 1, 1), (4, 3, 2)])
def test_pooling_is_the_share_of_each_cell(shape: tuple[int, int, int]) -> None:
    masks = (random(2, 3, 4, 6, 8) > 0).float()
    out = pool_to(masks, torch.Size(shape))
    d, h, w = (fine // coarse for fine, coarse in zip((4, 6, 8), shape, strict=True))
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                cell = masks[:, :, i * d : i * d + d, j * h : j * h + h, k * w : k * w + w]
                torch.testing.assert_close(out[:, :, i, j, k], cell.mean(dim=(2, 3, 4)))


def test_pooled_masks_weigh_as_upsampled_features_would() -> None:
    features, masks = random(1, 3, 2, 2, 2), (random(1, 1, 4, 4, 4) > 0).float()
    fine = F.interpolate(features, size=(4, 4, 4), mode="nearest")
    slow = (fine * masks).sum(dim=(2, 3, 4)) / masks.sum()
    pooled = pool_to(masks, features.shape[2:])
    fast = (features * pooled).sum(dim=(2, 3, 4)) / pooled.sum()
    torch.testing.assert_close(fast, slow)
