from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from feature_networks import SmallTrunk, small_trunk
from mass3d.model.protocol import FeatureNetworkModule
from mass3d.model.segmentation import add_head, folded_out


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


def test_voxels_of_a_cell_that_the_trunk_cannot_tell_apart_get_logits_of_their_own() -> None:
    class Blind(SmallTrunk):
        def features(self, image: Tensor) -> Tensor:
            return super().features(torch.zeros_like(image))

    net = add_head(cast("FeatureNetworkModule", Blind()), 1, seed=0)
    for last in net.ends:
        torch.nn.init.ones_(last.weight)
    cells = net.cell * 2
    image = torch.zeros(1, 1, cells, cells, cells)
    dark = net(image)[0, 1]
    image[..., 0, 0, 0] = 1
    moved = net(image)[0, 1] != dark
    assert moved[0, 0, 0]
    assert not moved[3, 3, 3]  # beyond what two convolutions see


def test_what_is_folded_out_is_where_its_cell_was() -> None:
    x = torch.arange(2 * 3 * 2 * 2 * 2.0).view(2, 3, 2, 2, 2).repeat_interleave(27, dim=1)
    out = folded_out(x, 3)
    assert out.shape == (2, 3, 6, 6, 6)
    assert torch.equal(out, F.interpolate(x[:, ::27], scale_factor=3, mode="nearest"))


def test_voxels_of_a_cell_are_told_apart_along_all_axes() -> None:
    cell = torch.arange(8.0).view(1, 8, 1, 1, 1)
    assert torch.equal(folded_out(cell, 2)[0, 0], torch.arange(8.0).view(2, 2, 2))
