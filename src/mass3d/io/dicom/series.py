"""A series: the slices of one volume, sorted along their normal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mass3d.io.dicom.header import Slice
from mass3d.io.formats.sniff import is_zip

SAME_MM = 0.01  # slices nearer to each other along the normal lie at one place


@dataclass(frozen=True)
class Series:
    """The slices of one volume, sorted along their normal. A series of several volumes is several.

    `span_mm` is from the first to the last place, along the normal, of all volumes it was split
    into: one that does not reach them has lost slices.
    """

    slices: tuple[Slice, ...]
    volume: str = ""  # which of several volumes, such as b1000 or echo2
    span_mm: tuple[float, float] = (np.inf, -np.inf)
    lost: tuple[str, ...] = ()  # how the headers tell that files are missing
    doubt: str = ""  # why these slices may be of several scans; such a series is not read

    @property
    def path(self) -> Path:
        """The archive, the file of a lone one, or the folder that holds all its files."""
        paths = sorted({part.file.path for part in self.slices})
        if is_zip(paths[0]) or len(paths) == 1:
            return paths[0]
        return Path(os.path.commonpath([path.parent for path in paths]))

    @property
    def title(self) -> str:
        """Number, description and volume, for messages."""
        return f"{self.slices[0].label} {self.volume}".strip() or "without number and description"


def places_of(slices: Sequence[Slice]) -> list[int]:
    """The number of the place of each slice; slices are sorted along their normal."""
    along = np.dot([part.position for part in slices], slices[0].normal)
    return [0, *np.cumsum(np.abs(np.diff(along)) > SAME_MM).tolist()]
