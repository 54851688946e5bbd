from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mass3d.transfer.sliding import (
    blend_weight,
    pad_to_window,
    slide,
    slide_down,
    slide_down_all,
    window_starts,
    windows,
)


@given(size=st.integers(1, 300), window=st.integers(1, 64), overlap=st.floats(0, 0.9))
def test_windows_cover_every_voxel_and_stay_inside(size: int, window: int, overlap: float) -> None:
    starts = window_starts(size, window, overlap=overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, size - window)
    gaps = [b - a for a, b in pairwise(starts)]
    assert all(0 < gap <= window for gap in gaps)
    assert all(gap <= max(1, window * (1 - overlap)) + 1 for gap in gaps)


def test_windows_are_counted_once() -> None:
    boxes = [
        tuple((s.start, s.stop) for s in box)
        for box in windows((40, 33, 16), (16,) * 3, overlap=0.5)
    ]
    assert len(boxes) == len(set(boxes))


@pytest.mark.parametrize("shape", [(20, 16, 33), (5, 40, 16), (16, 16, 16)])
def test_sliding_the_identity_gives_the_image_back(shape: tuple[int, int, int]) -> None:
    image = torch.randn(shape)
    out = slide(image, lambda w: w, window=(16,) * 3, channels=1, overlap=0.5, outside=-1.0)
    torch.testing.assert_close(out[0], image)


def test_small_scans_are_padded_with_the_outside_value() -> None:
    padded, before = pad_to_window(torch.ones(3, 16, 20), (8, 16, 16), outside=-2.0)
    assert padded.shape == (8, 16, 20)
    assert before == (2, 0, 0)
    assert padded[0, 0, 0] == -2
    assert padded[2:5].eq(1).all()


@pytest.mark.parametrize("shape", [(45, 16, 33), (5, 40, 16), (16, 9, 17), (90, 20, 20)])
def test_slabs_follow_each_other_and_are_the_whole(shape: tuple[int, int, int]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    def predict(window: torch.Tensor) -> torch.Tensor:
        shifted = window.roll(1, dims=3)  # what a window says depends on where it lies
        return torch.cat([window, shifted], 1)

    # as one would write it down: all windows into one volume
    padded, before = pad_to_window(image, (16,) * 3, outside=0.5)
    weight = blend_weight((16,) * 3)
    total, norm = torch.zeros(2, *padded.shape), torch.zeros(padded.shape)
    d, h, w = padded.shape
    for box in windows((d, h, w), (16,) * 3, overlap=0.4):
        total[(slice(None), *box)] += predict(padded[box][None, None])[0] * weight
        norm[box] += weight
    inner = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    expected = (total / norm)[(slice(None), *inner)]

    asked = {"window": (16,) * 3, "channels": 2, "overlap": 0.4, "outside": 0.5}
    slabs = list(slide_down(image, predict, **asked))  # type: ignore[arg-type]
    assert [first for first, _ in slabs] == [
        sum(part.shape[1] for _, part in slabs[:number]) for number in range(len(slabs))
    ]
    assert max(part.shape[1] for _, part in slabs) <= 16
    assert torch.equal(torch.cat([part for _, part in slabs], 1), expected)
    assert torch.equal(slide(image, predict, **asked), expected)  # type: ignore[arg-type]


def test_windows_of_several_images_lie_at_the_same_place_with_a_padding_of_each() -> None:
    images = [torch.randn(12, 40, 16), torch.randn(12, 40, 16)]
    seen = []

    def predict(windows: torch.Tensor) -> torch.Tensor:
        seen.append(windows)
        return windows

    slabs = slide_down_all(
        images, predict, window=(16,) * 3, channels=2, overlap=0.5, outside=[-1.0, 3.0]
    )
    found = torch.cat([part for _, part in slabs], 1)
    torch.testing.assert_close(found, torch.stack(images))
    shown = torch.cat(seen)
    assert shown.shape[1:] == (2, 16, 16, 16)
    assert (shown[:, 0, :2] == -1).all()
    assert (shown[:, 1, :2] == 3).all()
