from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from mass3d.masks.sam2.settings import Sam2Config, Sam2Profile
from mass3d.masks.sam2.slices import Slices, raw_ranges, seed_slices


def body(first: int, last: int, length: int) -> np.ndarray:
    """A body that reaches from one slice to another, inclusive."""
    mask = np.zeros((length, 3, 3), bool)
    mask[first : last + 1, 1, 1] = True
    return mask


def seeds(mask: np.ndarray, **others: float) -> list[int]:
    given: dict[str, Any] = {"spacing_mm": 1.5, "interval_mm": 30.0, "least": 10, **others}
    return seed_slices(mask, **given)


@pytest.mark.parametrize(
    ("length_mm", "spacing_mm", "count"), [(200, 5, 10), (360, 3, 12), (750, 1.5, 25)]
)
def test_there_are_as_many_seeds_as_in_the_release(
    length_mm: float, spacing_mm: float, count: int
) -> None:
    length = round(length_mm / spacing_mm)
    assert len(seeds(body(0, length - 1, length), spacing_mm=spacing_mm)) == count


def test_seeds_are_30_mm_apart_within_the_body_and_centred_in_it() -> None:
    found = seeds(body(7, 407, 500))
    assert set(np.diff(found)) == {20}
    assert found[0] - 7 == 407 - found[-1] == 0
    found = seeds(body(7, 417, 500))
    assert found[0] - 7 == 417 - found[-1] == 5


def test_a_short_body_gets_the_least_number_or_all_its_slices() -> None:
    found = seeds(body(4, 43, 60))
    assert len(set(found)) == 10
    assert min(found) > 4
    assert max(found) < 43
    assert seeds(body(4, 6, 60)) == [4, 5, 6]
    assert seeds(body(3, 2, 60)) == []


def test_colours_are_the_three_windows_in_eight_bits() -> None:
    raw = np.array([[[-200.0, -115.0, 60.0, 235.0, 400.0]]], np.float32)
    ranges = Sam2Config().ct.channels
    slices = Slices((raw + 100) / 300, raw > -999, -100.0, 300.0, ranges)
    colours = slices.colours(0)
    assert colours.dtype == np.uint8
    assert colours[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    for channel, (low, high) in enumerate(ranges):
        expected = np.round(255 * np.clip((raw[0, 0] - low) / (high - low), 0, 1))
        np.testing.assert_array_equal(colours[0, :, channel], expected)


def test_percentiles_are_those_of_the_body() -> None:
    raw = np.arange(1000.0).reshape(10, 10, 10)
    inside = raw >= 500
    profile = Sam2Profile(unit="percentile", channels=((0.0, 100.0), (5.0, 95.0), (25.0, 75.0)))
    found = raw_ranges(raw, inside, profile)
    np.testing.assert_allclose(found[0], (500, 999))
    np.testing.assert_allclose(found[2], np.percentile(raw[inside], (25, 75)))


def test_slices_along_an_axis_are_those_of_the_volume() -> None:
    image = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    scan = Slices(image, image > 0.5, 0.0, 1.0, ((0.0, 1.0),) * 3)
    for axis, length, section in (
        ("axial", 4, image[2]),
        ("coronal", 5, image[:, 2]),
        ("sagittal", 6, image[:, :, 2]),
    ):
        cut = scan.along(cast(Any, axis))
        assert len(cut) == length
        assert cut.shape == section.shape
        np.testing.assert_array_equal(cut.colours(2)[..., 0], np.round(255 * section))


@pytest.mark.parametrize("channels", [((1.0, 1.0),) * 3, ((0.0, 1.0), (2.0, 1.0), (0.0, 1.0))])
def test_a_channel_without_a_range_is_refused(channels: Any) -> None:
    with pytest.raises(ValueError, match="the lower one first"):
        Sam2Profile(unit="raw", channels=channels)
