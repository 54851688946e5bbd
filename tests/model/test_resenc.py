"""The stacks of nnU-Net; that they compute what nnU-Net computes is tested in tests/nnunet."""

from __future__ import annotations

import pytest
import torch

from helpers import STACKS
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.plan import ResEncPlan
from mass3d.model.presets import ResEncPreset
from mass3d.model.protocol import segment_pair
from mass3d.model.resenc import InstanceNorm, ResEncTrunk

PLAN = ResEncPlan(**STACKS)


@pytest.fixture(scope="module")
def trunk() -> ResEncTrunk:
    torch.manual_seed(0)
    return ResEncTrunk(PLAN, width=16).eval()


def test_maps_have_the_strides_of_the_plan_and_every_cell_knows_the_whole_view(
    trunk: ResEncTrunk,
) -> None:
    image = torch.randn(1, 1, 8, 16, 24, requires_grad=True)
    maps = trunk.descend(image)
    shapes = [(1, 8, 8, 16, 24), (1, 12, 8, 8, 12), (1, 16, 4, 4, 6)]
    assert [tuple(one.shape) for one in maps] == shapes
    features = trunk.ascend(maps)
    assert features.shape == (1, 16, 4, 8, 12)
    features[0, :, 0, 0, 0].sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).float().mean() > 0.9


@torch.no_grad()
def test_maps_for_pooling_have_cubic_cells(trunk: ResEncTrunk) -> None:
    image = torch.randn(1, 1, 8, 16, 24)
    scales = trunk.scales(image)
    strides = [[n // m for n, m in zip((8, 16, 24), one.shape[2:], strict=True)] for one in scales]
    assert strides == [[2, 2, 2], [2, 2, 2], [4, 4, 4]]
    middle = trunk.descend(image)[1]  # of two voxels along H and W alone
    torch.testing.assert_close(scales[1], (middle[:, :, ::2] + middle[:, :, 1::2]) / 2)
    assert torch.equal(scales[0], trunk(image))


@torch.no_grad()
def test_the_norm_of_a_single_voxel_is_its_bias() -> None:
    layer = InstanceNorm(3, affine=True)
    torch.nn.init.normal_(layer.bias)
    alone = layer(torch.randn(2, 3, 1, 1, 1))
    torch.testing.assert_close(alone, layer.bias.view(1, 3, 1, 1, 1).expand(2, 3, 1, 1, 1))
    pair = torch.randn(2, 3, 1, 1, 2)
    assert torch.equal(layer(pair), torch.nn.InstanceNorm3d.forward(layer, pair))


@torch.no_grad()
def test_a_view_of_a_single_stride_is_described() -> None:
    trunk = ResEncTrunk(PLAN, width=16).eval()
    assert trunk(torch.randn(1, 1, 4, 4, 4)).isfinite().all()


@torch.no_grad()
def test_it_draws_again_what_it_was_shown() -> None:
    """Without any training: closed form, random features."""
    torch.manual_seed(0)
    preset = ResEncPreset(plan=PLAN, width=16, keys=8, max_crop_voxels=1)
    net = CorrespondenceNet(preset).eval()
    image = 0.1 * torch.randn(1, 1, 16, 24, 16, generator=torch.Generator().manual_seed(3))
    masks = torch.zeros(1, 1, 16, 24, 16)
    masks[:, 0, 3:9, 4:12, 5:11] = 1
    found = (segment_pair(net, image + masks, masks, image + masks) > 0).float()
    assert 2 * (found * masks).sum() / (found + masks).sum() > 0.9
