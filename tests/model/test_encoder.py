"""The residual pyramid: strides, widths, and how far a voxel is seen."""

from __future__ import annotations

import torch

from mass3d.model.encoder import Encoder

CHANNELS = (2, 4, 6, 8)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(CHANNELS, blocks=(1, 2, 1)).eval()


def test_maps_halve_from_level_to_level() -> None:
    maps = encoder()(torch.randn(2, 1, 8, 16, 24))
    shapes = [tuple(one.shape) for one in maps]
    assert shapes == [
        (2, 2, 8, 16, 24),
        (2, 4, 4, 8, 12),
        (2, 6, 2, 4, 6),
        (2, 8, 1, 2, 3),
    ]


def test_every_block_is_counted() -> None:
    assert [len(stage) for stage in encoder().stages] == [1, 2, 1]  # type: ignore[arg-type]


def test_scans_of_a_batch_do_not_see_each_other() -> None:
    net, images = encoder(), torch.randn(3, 1, 8, 8, 8)
    for together, alone in zip(net(images), net(images[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_the_finest_map_is_local_and_every_weight_is_used() -> None:
    net = encoder()
    image = torch.randn(1, 1, 16, 16, 16, requires_grad=True)
    maps = net(image)
    (seen,) = torch.autograd.grad(maps[0][0, :, 8, 8, 8].sum(), image, retain_graph=True)
    places = seen[0, 0].nonzero()
    assert places.amin() >= 7
    assert places.amax() <= 9
    sum((one.square().sum() for one in maps), torch.zeros(())).backward()
    assert all(weight.grad is not None for weight in net.parameters())
