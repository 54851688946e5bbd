"""Colours of label values."""

from __future__ import annotations

import numpy as np
from skimage.color import deltaE_cie76, rgb2lab

from mass3d.io.colours import PALETTE, nth_colour, value_colours

COUNT = 120  # structures of a large data set such as TotalSegmentator


def test_the_first_values_have_the_colours_of_the_palette() -> None:
    assert tuple(value_colours(range(1, 11)).values()) == PALETTE


def test_no_two_of_the_first_values_look_the_same() -> None:
    colours = np.array(list(value_colours(range(1, COUNT + 1)).values())) / 255
    lab = rgb2lab(colours)
    apart = deltaE_cie76(lab[:, None], lab[None])
    apart[np.diag_indices(COUNT)] = np.inf
    assert apart.min() > 6  # 2 is what can just be told apart
    assert lab[:, 0].min() > 30  # seen on black


def test_a_value_has_its_colour_whichever_others_there_are() -> None:
    assert value_colours([11, 40_000])[11] == value_colours([11])[11] == nth_colour(10)
    assert all(0 <= part <= 255 for value in (1, 11, 65535) for part in nth_colour(value))
