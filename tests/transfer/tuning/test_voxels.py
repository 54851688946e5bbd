from __future__ import annotations

import torch

from mass3d.transfer.tuning.voxels import (
    AROUND_VOX,
    FLOOR,
    NEAR,
    Encoder,
    gather,
    planes_of,
    smoothed,
)

SHAPE = (10, 12, 8)


def test_the_neighbours_of_a_voxel_are_gathered_and_edges_repeat() -> None:
    image = torch.arange(10 * 12 * 8, dtype=torch.float32).view(SHAPE)
    planes = planes_of(image, torch.rand(2, *SHAPE) / 2)
    place = (5, 6, 4)
    index = torch.tensor([(place[0] * 12 + place[1]) * 8 + place[2], 0])
    features, log_prior = gather(planes, index)
    assert features.shape == (2, 27 + 12 + 6)
    assert log_prior.shape == (2, 9)
    torch.testing.assert_close(features[0, :27], image[4:7, 5:8, 3:6].flatten())
    far = [image[5 + s, 6, 4] for s in (-3, -2, 2, 3)] + [
        image[5, 6 + s, 4] for s in (-3, -2, 2, 3)
    ]
    torch.testing.assert_close(features[0, 27:35], torch.stack(far))
    assert features[1, 0] == image[0, 0, 0]
    assert features[1, 26] == image[1, 1, 1]
    torch.testing.assert_close(log_prior[0], planes.log_prior[:, 5, 6, 4])


def test_maps_of_a_network_are_read_at_their_stride() -> None:
    maps = torch.randn(3, 5, 6, 4)
    planes = planes_of(torch.rand(SHAPE), torch.zeros(1, *SHAPE), Encoder(lambda image: maps, 2))
    features, _ = gather(planes, torch.tensor([(7 * 12 + 6) * 8 + 3]))
    torch.testing.assert_close(features[0, 45:48], maps[:, 3, 3, 1])
    assert features[0, 48:].tolist() == [1, 0, 1]


def test_maps_look_no_further_than_slabs_overlap() -> None:
    prior, image = torch.zeros(1, 40, 3, 3), torch.zeros(40, 3, 3)
    prior[0, 20], image[20] = 1, 1
    planes, nothing = planes_of(image, prior), planes_of(image * 0, prior * 0)
    for found, empty in (
        (planes.log_prior, nothing.log_prior),
        (planes.smooth[:3], nothing.smooth[:3]),
    ):
        changed = (found - empty).abs().amax((0, 2, 3)).nonzero().flatten()
        assert changed.min() >= 20 - AROUND_VOX
        assert changed.max() <= 20 + AROUND_VOX


def test_smoothing_keeps_constants_and_sums() -> None:
    x = torch.zeros(1, 9, 9, 9)
    x[0, 4, 4, 4] = 27
    torch.testing.assert_close(smoothed(x)[0, 3:6, 3:6, 3:6], torch.ones(3, 3, 3))
    torch.testing.assert_close(smoothed(torch.ones(2, 3, 1, 2), 2), torch.ones(2, 3, 1, 2))


def test_structures_are_smoothed_as_if_all_were_in_the_whole_volume() -> None:
    prior = torch.zeros(4, 30, 26, 9)
    prior[0, 3:9, 10:14, 2:5], prior[1, 25:, 20:, 5:] = 0.5, 0.8
    prior[2, 14, 13, 0] = 1  # and the last is nowhere
    planes = planes_of(torch.zeros(30, 26, 9), prior)
    fine = smoothed(torch.cat([(1 - prior.sum(0, keepdim=True)).clamp_min(0), prior]))
    middle = smoothed(smoothed(fine))
    coarse = smoothed(smoothed(middle, 2), 2)
    assert torch.equal(planes.log_prior, torch.log(torch.cat([fine, middle, coarse]) + FLOOR))
    assert torch.equal(planes.near, coarse[1:].sum(0) > NEAR)


def test_a_mean_along_short_axes_repeats_their_edges() -> None:
    x = torch.rand(1, 2, 1, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x[None], (2,) * 6, mode="replicate")[0]
    for axis in (1, 2, 3):
        n = padded.shape[axis] - 4
        parts = [padded.narrow(axis, first, n) for first in (0, 2, 4)]
        padded = torch.stack(parts).mean(0)
    torch.testing.assert_close(smoothed(x, 2), padded)
