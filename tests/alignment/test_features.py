"""What scans are compared by, against the same voxel by voxel and scans in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heads import head
from mass3d.alignment import features
from mass3d.alignment.features import (
    air_threshold,
    body_box,
    scan_features,
    self_similarity,
    with_fine,
)
from mass3d.volume.box import box_at, relative_to, whole_box

FLOOR = 0.05


def test_self_similarity_compares_patches_around_two_neighbours() -> None:
    image = torch.randn(6, 7, 8, generator=torch.Generator().manual_seed(0))
    six = [np.array(v) for v in ((-2, 0, 0), (2, 0, 0), (0, -2, 0), (0, 2, 0), (0, 0, -2))]
    six.append(np.array((0, 0, 2)))
    pairs = [(a, b) for i, a in enumerate(six) for b in six[i + 1 :] if (a != -b).any()]
    assert len(pairs) == 12
    around = np.array(list(np.ndindex(3, 3, 3))) - 1
    values = np.pad(image.double().numpy(), 3, mode="edge")

    def at(place: np.ndarray) -> float:
        """Edges repeat."""
        return float(values[tuple(place + 3)])

    distance = np.zeros((12, *image.shape))
    limit = np.array(image.shape) - 1
    for cell in np.ndindex(*image.shape):
        patch = [np.clip(np.array(cell) + offset, 0, limit) for offset in around]
        for number, (a, b) in enumerate(pairs):
            distance[(number, *cell)] = np.mean([(at(p + a) - at(p + b)) ** 2 for p in patch])
    distance -= distance.min(0)
    noise = distance.mean(0)
    expected = np.exp(-distance / np.maximum(noise, FLOOR * noise.mean() + 1e-6))
    np.testing.assert_allclose(self_similarity(image, FLOOR), expected, atol=2e-5)


@pytest.mark.parametrize("cells", [1, 15_000, 60_000])
@pytest.mark.parametrize("shape", [(41, 50, 37), (52, 64, 56), (9, 40, 40)])
def test_features_made_in_slabs_are_those_of_the_whole(
    shape: tuple[int, int, int], cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scan_features(head(0, shape))
    monkeypatch.setattr(features, "SLAB_CELLS", cells)
    parts = scan_features(head(0, shape))
    assert parts.levels.keys() == whole.levels.keys()
    for stride, level in whole.levels.items():
        assert parts.levels[stride].known.equal(level.known)
        torch.testing.assert_close(parts.levels[stride].features, level.features, atol=1e-4, rtol=0)


def test_a_threshold_parts_a_body_from_noisy_air() -> None:
    image = head()
    inside = image > 5  # tissue is around 10, air around 0
    found = image > air_threshold(image)
    assert (found == inside).float().mean() > 0.999
    assert body_box(found, 0) == body_box(inside, 0)


def test_air_is_kept_around_a_body_but_where_the_view_cuts_it() -> None:
    z, y, x = torch.meshgrid(*(torch.arange(n) for n in (30, 40, 50)), indexing="ij")
    ball = z**2 + (y - 20) ** 2 + (x - 25) ** 2 <= 15**2  # cut in its middle by the first slice
    found = body_box(ball, 3)
    without = body_box(ball, 0)
    assert without[0].start == found[0].start == 0
    assert found[0].stop == without[0].stop + 3
    assert all(
        f == slice(w.start - 3, w.stop + 3) for f, w in zip(found[1:], without[1:], strict=True)
    )
    assert ball[without].sum() > 0.98 * ball.sum()
    assert body_box(torch.zeros(9, 9, 9, dtype=torch.bool), 3) == whole_box((9, 9, 9))


def test_fine_levels_are_those_of_the_scan_within_a_box() -> None:
    image = head()
    whole = scan_features(image)
    z, y, x = (start + 12 for start in whole.origin)  # cells of both lie on each other
    box = box_at((z, y, x), (24, 28, 24))
    part = with_fine(scan_features(image, finest=4), image, box)
    assert part.levels.keys() == whole.levels.keys()
    assert part.levels[4].features.equal(whole.levels[4].features)
    inner = relative_to(box, box_at(whole.origin, whole.size))
    for stride in (1, 2):
        assert part.levels[stride].origin == tuple(axis.start for axis in box)
        cells = tuple(slice(axis.start // stride, axis.stop // stride) for axis in inner)
        found, expected = part.levels[stride].features, whole.levels[stride].features
        seen = (slice(None), *[slice(6, -6)] * 3)  # the edges of the box see less
        expected = expected[(slice(None), *cells)][seen]
        torch.testing.assert_close(found[seen], expected, atol=0.05, rtol=0.05)


def test_a_box_outside_the_body_adds_nothing() -> None:
    image = torch.zeros(40, 40, 40)
    image[:, 20:, 20:] = head()[:40, :20, :20] + 1
    coarse = scan_features(image, finest=4)
    assert with_fine(coarse, image, box_at((0, 0, 0), (10, 5, 5))) is coarse
