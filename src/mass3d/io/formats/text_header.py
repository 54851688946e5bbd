"""Headers of text, as NRRD and MetaImage have them: fields by name.

They are read here and not by ITK, whose parsers corrupt memory on some broken headers, take 1 mm
where a header gives no spacing, and deliver noise where packed voxels are damaged, without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.checks import damaged, require_edges
from mass3d.io.formats.regular_file import open_unbuffered

MAX_HEADER = 2**24  # bytes; a limit of lines would be met by sound files
LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])
DATA_FILE: Final = ("data file", "datafile")  # of a NRRD; names of files follow where it is LIST
END: Final = "elementdatafile"  # the last field of a MetaImage; the voxels follow


@dataclass(frozen=True)
class TextHeader:
    """The fields of a header by lower-case name; what is attached begins at byte `end`."""

    path: Path
    fields: dict[str, str]
    end: int

    def get(self, *names: str) -> str:
        """The first of these fields that is there, else an empty text."""
        return next((self.fields[name] for name in names if name in self.fields), "")

    def numbers(self, *names: str) -> list[float]:
        """A field as numbers. Raises `DataError` where it is something else."""
        text = self.get(*names)
        try:
            return [float(word) for word in text.split()]
        except ValueError as error:
            raise damaged(self.path, f"{names[0]} is {text}") from error

    def whole(self, *names: str) -> list[int]:
        """A field as whole numbers. Raises `DataError` where it is something else."""
        text = self.get(*names)
        try:
            return [int(word) for word in text.split()]
        except ValueError as error:
            raise damaged(self.path, f"{names[0]} is {text}") from error


def read_text_header(path: Path, *, separator: str) -> TextHeader:
    """The lines before the voxels, of any number and length. Raises `DataError`."""
    fields: dict[str, str] = {}
    try:
        with BufferedReader(open_unbuffered(path)) as stream:
            while line := stream.readline(MAX_HEADER):
                if stream.tell() > MAX_HEADER:
                    raise _too_long(path)
                text = decoded(line).strip()
                if separator == ":" and not text:
                    break
                name, found, value = text.partition(separator)
                name = name.strip().lower()
                if text.startswith("#") or not found or value.startswith("="):
                    continue  # a comment, the first line, or := of a user's own field
                if name in fields:
                    raise damaged(path, f"it gives {name} twice")
                fields[name] = value.strip()
                if name == END or (name in DATA_FILE and fields[name].upper().startswith("LIST")):
                    break
            return TextHeader(path, fields, stream.tell())
    except OSError as error:
        raise damaged(path, str(error.strerror or error)) from error


def decoded(content: bytes) -> str:
    """Text of a header, which is UTF-8 today and was Latin-1."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _too_long(path: Path) -> DataError:
    return DataError(
        path,
        found=f"a header of more than {MAX_HEADER} bytes, or one without an end",
        expected="a header, an empty line, and voxels",
        fix="Write the file again with another tool.",
    )


def require_each_edge(path: Path, edges_mm: Sequence[float], dimensions: int) -> None:
    """Raise `DataError` unless there is a sound edge for every axis of space."""
    if dimensions >= 3 and len(edges_mm) < 3:
        raise DataError(
            path,
            found=f"{len(edges_mm) or 'no'} voxel edges in the header",
            expected="one edge per axis, in mm",
            fix="Add the spacing to the header with the tool that wrote it.",
        )
    require_edges(path, edges_mm[:3])


def world(
    directions: NDArray[np.float64], origin: NDArray[np.float64], signs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """File index -> RAS+ mm from vectors (world, axis) and a place in a world with these signs."""
    affine = np.eye(4)
    with np.errstate(invalid="ignore"):  # what is no number is refused later
        affine[:3, :3], affine[:3, 3] = signs @ directions, signs @ origin
    return affine
