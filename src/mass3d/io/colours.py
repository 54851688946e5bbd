"""Colours of label values, the same in files and on pages."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from typing import Final

Colour = tuple[int, int, int]  # red, green and blue, 0 to 255

# Told apart by colour-blind readers and on grey slices; used in this order for named structures.
PALETTE: Final[tuple[Colour, ...]] = (
    (242, 145, 61),
    (64, 176, 232),
    (235, 87, 118),
    (62, 197, 150),
    (246, 208, 69),
    (170, 128, 242),
    (157, 204, 71),
    (244, 143, 200),
    (120, 145, 255),
    (200, 160, 120),
)

# Further ones take the hue by the golden ratio, and lightness and saturation in turn: of the first
# 120 no two are closer than 6 in CIELAB, where 2 can just be told apart side by side.
GOLDEN: Final = 0.618034
LIGHTNESS: Final = (0.5, 0.65, 0.8)
SATURATION: Final = (0.95, 0.65, 0.4)


def nth_colour(position: int) -> Colour:
    """The colour of a place in a list, from 0: those of the palette first, then made ones."""
    if position < len(PALETTE):
        return PALETTE[position]
    turn = position - len(PALETTE)
    lightness = LIGHTNESS[turn % len(LIGHTNESS)]
    saturation = SATURATION[turn // len(LIGHTNESS) % len(SATURATION)]
    red, green, blue = colorsys.hls_to_rgb(turn * GOLDEN % 1, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def of_css(text: str) -> Colour:
    """The colour that a style sheet calls `#rrggbb`."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def value_colours(values: Iterable[int]) -> dict[int, Colour]:
    """Label value -> colour, the same for a value whichever others there are."""
    return {value: nth_colour(value - 1) for value in values}
