from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from feature_networks import SmallTrunk, small_trunk
from mass3d.model.protocol import FeatureNetworkModule
from mass3d.model.segmentation import WIDTH, add_head
from mass3d.model.trunk import fold, unfold


def test_every_voxel_gets_a_logit_of_every_class_and_all_are_alike_at_first() -> None:
    net = add_head(small_trunk(), 5, seed=0)
    assert net.stride == 4
    logits = net(torch.randn(2, 1, 16, 12, 20))
    assert logits.shape == (2, 6, 16, 12, 20)
    assert logits.dtype == torch.float32
    assert (logits == 0).all()


def test_the_first_weights_of_the_head_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = add_head(small_trunk(), 3, seed=2)
    torch.manual_seed(6)
    two = add_head(small_trunk(), 3, seed=2)
    ours, theirs = one.state_dict(), two.state_dict()
    assert torch.equal(ours["conv.weight"], theirs["conv.weight"])
    assert not torch.equal(ours["trunk.stem.weight"], theirs["trunk.stem.weight"])
    other = add_head(small_trunk(), 3, seed=3).state_dict()
    assert not torch.equal(ours["conv.weight"], other["conv.weight"])


def test_the_head_sees_voxels_that_the_trunk_does_not() -> None:
    class Blind(SmallTrunk):
        def features(self, image: Tensor) -> Tensor:
            return super().features(torch.zeros_like(image))

    net = add_head(cast("FeatureNetworkModule", Blind()), 1, seed=0)
    torch.nn.init.normal_(net.out.weight)
    image = torch.zeros(1, 1, 8, 8, 8)
    dark = net(image)[0, 1]
    image[..., 1, 1, 1] = 1
    moved = net(image)[0, 1] != dark
    assert moved[:4, :4, :4].all()  # its own cell and the next
    assert not moved[4:].any()  # beyond what one convolution sees


def test_what_is_unfold_is_where_its_cell_was() -> None:
    x = torch.arange(2 * 3 * 2 * 2 * 2.0).view(2, 3, 2, 2, 2).repeat_interleave(27, dim=1)
    out = unfold(x, 3)
    assert out.shape == (2, 3, 6, 6, 6)
    assert torch.equal(out, F.interpolate(x[:, ::27], scale_factor=3, mode="nearest"))


def test_voxels_of_a_cell_are_told_apart_along_all_axes() -> None:
    cell = torch.arange(8.0).view(1, 8, 1, 1, 1)
    assert torch.equal(unfold(cell, 2)[0, 0], torch.arange(8.0).view(2, 2, 2))
    assert torch.equal(fold(unfold(cell, 2), 2), cell)


def test_the_head_sees_what_the_trunk_says_of_each_channel_by_itself() -> None:
    trunk = small_trunk()
    net = add_head(trunk, 2, seed=0, channels=3)
    torch.nn.init.normal_(net.out.weight)
    image = torch.randn(2, 3, 8, 12, 8, generator=torch.Generator().manual_seed(0))
    maps = [trunk.features(image[:, n : n + 1]) for n in range(3)]
    seen = torch.cat([*maps, fold(image, 2)], 1)
    torch.testing.assert_close(net(image), unfold(net.out(F.silu(net.conv(seen))), 2))
    assert not torch.allclose(net(image), net(image.flip(1)))


def test_a_network_of_one_channel_has_the_weights_it_always_had() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        plain = torch.nn.Conv3d(12 + 8, WIDTH, 3, 1, 1)
    for net in (add_head(small_trunk(), 2, seed=4), add_head(small_trunk(), 2, seed=4, channels=1)):
        assert torch.equal(net.conv.weight, plain.weight)
