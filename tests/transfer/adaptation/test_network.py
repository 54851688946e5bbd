"""The network that learns a cohort."""

from __future__ import annotations

import pytest
import torch

from mass3d.transfer.adaptation.network import CohortNetwork, seen_by


def network(structures: int = 2) -> CohortNetwork:
    net = CohortNetwork(structures, (4, 6, 8))
    net.start(torch.Generator().manual_seed(0))
    return net.eval()


@pytest.mark.parametrize("shape", [(8, 12, 16), (8, 8, 8)])
def test_logits_of_background_and_structures_lie_on_the_voxels(shape: tuple[int, ...]) -> None:
    assert network()(torch.randn(2, 1, *shape)).shape == (2, 3, *shape)


def test_edges_are_multiples_of_the_stride() -> None:
    assert network().stride == 4


def test_an_image_of_any_shape_is_seen_in_windows() -> None:
    seen = seen_by(network(), torch.randn(19, 33, 7), 16)
    assert seen.shape == (2, 19, 33, 7)
    assert float(seen.min()) >= 0
    assert float(seen.sum(0).max()) <= 1 + 1e-5


def test_an_image_of_one_window_is_what_the_network_says() -> None:
    net, image = network(), torch.randn(16, 16, 16)
    wanted = net(image[None, None]).softmax(1)[0, 1:]
    torch.testing.assert_close(seen_by(net, image, 16), wanted, rtol=1e-4, atol=1e-5)
