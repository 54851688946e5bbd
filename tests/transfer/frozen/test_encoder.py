"""A frozen network over whole scans, against sums that are taken all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.model.protocol import NetworkModule
from mass3d.transfer.frozen.encoder import (
    MapShape,
    dense_map,
    encode,
    load_untrained,
    map_shapes,
    middle_of,
    scales_of,
)
from mass3d.transfer.frozen.pooling import MAX_CELLS, Cells
from mass3d.transfer.trained import TrainedModel, load_trained
from mass3d.volume.preparation import PreparationConfig

CPU = torch.device("cpu")


class Averages(nn.Module):
    """Cells that know nothing of each other: windows must then make no difference."""

    stride = 4

    def scales(self, image: Tensor) -> Sequence[Tensor]:
        """Means and squares in cells of 2³, and means in cells of 4³ voxels."""
        fine = F.avg_pool3d(image, 2)
        return [torch.cat([fine, fine**2], 1), F.avg_pool3d(image, 4)]

    encode = scales


def model(crop: int) -> TrainedModel:
    net = cast("NetworkModule", Averages())
    return TrainedModel(net, (crop,) * 3, PreparationConfig(spacing_mm=1.0), "", CPU)


def scan(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    body = np.zeros((20, 26, 15), bool)
    body[3:18, 5:22, 2:11] = True
    return rng.normal(size=body.shape).astype(np.float32), body


@pytest.mark.parametrize("crop", [8, 16, 32])
def test_pooled_features_are_mean_and_deviation_over_the_body(crop: int) -> None:
    image, body = scan()
    found = encode(model(crop), image, body, outside=-3.0, overlap=0.5)
    pads = (0, 1, 0, 2, 0, 0)  # to multiples of 4
    padded = F.pad(torch.from_numpy(image), pads, value=-3.0)[None, None]
    inside = F.pad(torch.from_numpy(body).float(), pads)[None, None]
    expected = []
    for cells, edge in zip(Averages().scales(padded), (2, 4), strict=True):
        weight = F.avg_pool3d(inside, edge)[0].double()
        mean = (cells[0] * weight).sum((1, 2, 3)) / weight.sum()
        variance = ((cells[0] - mean[:, None, None, None]) ** 2 * weight).sum((1, 2, 3))
        expected += [mean, (variance / weight.sum()).sqrt()]
    np.testing.assert_allclose(found.pooled, torch.cat(expected), atol=1e-4)


def test_what_is_no_body_does_not_count() -> None:
    image, body = scan()
    changed = np.where(body, image, 100).astype(np.float32)
    body[:2] = body[-1:] = False
    inner = np.zeros_like(body)
    inner[4:16, 8:20, 4:8] = True  # whole cells of 4³
    first, second = (
        encode(model(16), one, inner, outside=0.0, overlap=0.25) for one in (image, changed)
    )
    np.testing.assert_array_equal(first.pooled, second.pooled)
    np.testing.assert_array_equal(first.cells, second.cells)


def test_cells_planes_and_dense_map_are_those_of_the_whole_scan() -> None:
    image, body = scan()
    found = encode(model(8), image, body, outside=0.0, overlap=0.5, dense=True)
    padded = F.pad(torch.from_numpy(image), (0, 1, 0, 2, 0, 0))[None, None]
    fine = Averages().scales(padded)[0][0]
    assert found.dense is not None
    assert found.dense.shape == (2, 10, 13, 8)
    np.testing.assert_allclose(found.dense, fine[:, :10, :13, :8], atol=1e-5)
    assert found.through == middle_of(body, 2) == (5, 6, 3)
    for axis, plane in enumerate(found.planes):
        whole = found.dense.take(found.through[axis], axis=axis + 1)
        np.testing.assert_allclose(plane, whole, atol=2e-3)
    inside = F.pad(torch.from_numpy(body).float(), (0, 1, 0, 2, 0, 0))[None, None]
    weight = F.avg_pool3d(inside, 4).flatten()
    kept = weight * 64 >= 1
    coarse = F.avg_pool3d(
        padded * 0 + F.interpolate(Averages().scales(padded)[1], padded.shape[2:]), 4
    )
    assert found.cells.shape == (int(kept.sum()), 3)
    np.testing.assert_allclose(found.cells[:, 2], coarse.flatten()[kept], atol=2e-3)


def test_no_scan_has_more_cells_than_allowed() -> None:
    cells = Cells((160, 160, 160), 4, 3)
    assert cells.merged == 4
    assert len(cells.sums) == 10**3 <= MAX_CELLS


def test_a_body_of_less_than_a_voxel_still_has_a_cell() -> None:
    cells = Cells((8, 8, 8), 4, 1)
    cells.weights[3], cells.sums[3] = 0.5, 2.0
    np.testing.assert_allclose(cells.averages(), [[4.0]])


def test_every_network_has_maps_to_pool(trained: Path) -> None:
    found = load_trained(trained, device="cpu")
    shapes = map_shapes(found)
    assert [one.stride for one in shapes] == [2, 2, 4, 8]
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(scales_of(found.net, image)[0], found.net.encode(image)[1])
    assert dense_map(shapes) == 0
    assert dense_map([MapShape(1, 8), MapShape(2, 24)]) == 1
    assert dense_map([MapShape(1, 8)]) == 0


def test_the_untrained_network_is_that_of_the_first_step(trained: Path) -> None:
    first, other = load_untrained(trained, device="cpu"), load_untrained(trained, device="cpu")
    last = load_trained(trained, device="cpu")
    tensors = [one.net.state_dict() for one in (first, other, last)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert not all(torch.equal(tensors[0][name], tensors[2][name]) for name in tensors[0])
    assert not any(one.requires_grad for one in first.net.parameters())
