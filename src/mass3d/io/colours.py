"""Colours of label values, the same in files and on pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mass3d.io.formats.label_table import LabelName

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


def value_colours(values: Iterable[int]) -> dict[int, Colour]:
    """Label value -> colour, the same for a value whichever others there are."""
    return {value: PALETTE[(value - 1) % len(PALETTE)] for value in values}


def label_table(structures: Mapping[str, int]) -> list[LabelName]:
    """Names and colours of label values (name -> value), for the header of a label map."""
    colours = value_colours(structures.values())
    return [LabelName(value, name, colours[value]) for name, value in structures.items()]
