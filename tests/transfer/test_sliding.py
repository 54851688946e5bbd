from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mass3d.transfer.sliding import pad_to_window, slide, window_starts, windows


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
    out = slide(image, lambda w: w[0], window=(16,) * 3, channels=1, overlap=0.5, outside=-1.0)
    torch.testing.assert_close(out[0], image)


def test_small_scans_are_padded_with_the_outside_value() -> None:
    padded, before = pad_to_window(torch.ones(3, 16, 20), (8, 16, 16), outside=-2.0)
    assert padded.shape == (8, 16, 20)
    assert before == (2, 0, 0)
    assert padded[0, 0, 0] == -2
    assert padded[2:5].eq(1).all()
