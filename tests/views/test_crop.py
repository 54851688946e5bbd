"""The crop that a cohort gets by default."""

from __future__ import annotations

import pytest

from mass3d.errors import ConfigError
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


def test_many_small_scans_do_not_shrink_the_crop_of_large_ones() -> None:
    shapes = [(12, 17, 12)] * 180 + [(125, 125, 80)] * 20
    assert choose_crop(None, shapes, 8, max_voxels=10**7) == (120, 120, 80)


def test_a_crop_is_no_larger_than_the_network_can_see() -> None:
    shapes = [(300, 40, 20)]
    assert choose_crop(None, shapes, 16, max_voxels=10**7, max_edge=130) == (128, 32, 32)
    assert choose_crop((128, 64, 64), shapes, 16, max_voxels=1, max_edge=130) == (128, 64, 64)
    with pytest.raises(ConfigError) as caught:
        choose_crop((144, 64, 64), shapes, 16, max_voxels=1, max_edge=128)
    assert caught.value.fix == "Try [128, 64, 64]."


def test_a_network_of_many_widths_gets_crops_of_one_stride_or_an_error() -> None:
    shapes = [(300, 300, 300)]
    assert choose_crop(None, shapes, 32, max_voxels=48 * 64 * 64) == (32, 64, 64)
    assert choose_crop(None, shapes, 32, max_voxels=32**3) == (32, 32, 32)
    with pytest.raises(ConfigError, match=r"at least 64 .*views.crop_vox=\[64, 64, 64\]"):
        choose_crop(None, shapes, 64, max_voxels=48 * 64 * 64)
