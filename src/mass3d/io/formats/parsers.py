"""Formats with a text header, by name, and the files that make up a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mass3d.errors import DataError
from mass3d.io.formats.metaimage import parse_metaimage
from mass3d.io.formats.nrrd import parse_nrrd
from mass3d.io.formats.sniff import sniff

PARSERS: Final = {"nrrd": parse_nrrd, "metaimage": parse_metaimage}


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself and those in which its header says that the voxels lie, sorted.

    Only the file itself where it cannot be understood; reading it will say why.
    """
    try:
        kind = sniff(path)
        others = () if kind == "nifti" else PARSERS[kind](path).payload.files
    except DataError:
        others = ()
    return tuple(sorted({path, *others}))
