"""How datasets are laid out: which image files are scans, which are labels, and of which scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mass3d.io.dataset import read_table


@dataclass(frozen=True)
class LabelFiles:
    """What lies beside a scan as its label, by the layout of its dataset. Nothing is opened."""

    paths: tuple[Path, ...]  # one label map; or the binary masks, one per structure
    names: tuple[str, ...] = ()  # of the structures, one per mask; empty for a label map
    table: Path | None = None  # the dataset.json that names the values of a label map

    @property
    def structures(self) -> Mapping[str, int] | None:
        """Name -> value, by value; the masks count from 1. None where nothing tells.

        Raises `DataError` when dataset.json cannot be read.
        """
        if self.names:
            return {name: number for number, name in enumerate(self.names, start=1)}
        return read_table(self.table) if self.table else None
