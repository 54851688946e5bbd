"""The crop that a cohort gets by default."""

from __future__ import annotations

from mass3d.views.crop import choose_crop


def test_the_default_crop_follows_the_scans_and_the_budget() -> None:
    def crop(*shape: int) -> tuple[int, int, int]:
        d, h, w = shape
        return choose_crop(None, [(d, h, w)], 16, max_voxels=200_000)

    assert crop(35, 50, 36) == (32, 48, 32)
    assert crop(10, 20, 300) == (32, 32, 192)
    d, h, w = crop(300, 300, 300)
    assert d * h * w <= 200_000
    assert max(d, h, w) - min(d, h, w) <= 16
