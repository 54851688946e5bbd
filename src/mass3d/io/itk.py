"""NRRD and MetaImage, attached or detached, through SimpleITK.

ITK takes 1 mm where a header gives no spacing, turns an axis where it is negative, and delivers
noise where compressed voxels are damaged, all without a word. So the header, which is text, and
the size of the voxels are looked at before ITK sees the file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.checks import (
    Raw,
    damaged,
    not_grey,
    placed,
    require_edges,
    require_mm,
    spatial_shape,
)
from mass3d.io.regular import Fit
from mass3d.volume.geometry import Shape

TextFormat = Literal["nrrd", "metaimage"]
READERS: Final[dict[TextFormat, str]] = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}
MOST_LINES = 1000  # of a header
# bytes of a number, by the first of these words in the name of its type
BYTES: Final = {"char": 1, "short": 2, "long": 8, "float": 4, "double": 8, "int": 4}
# a corner of the body or its name: left-posterior-superior, RAS, ...
ANATOMICAL: Final = re.compile(r"(left|right)-(anterior|posterior)-superior|[LR][AP]S", re.I)


@dataclass(frozen=True)
class TextHeader:
    """The fields of a header by lower-case name; attached voxels begin at byte `end`."""

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


@dataclass(frozen=True)
class Payload:
    """Where the voxels of a file lie, and how many bytes they must be when unpacked."""

    file: Path
    start: int
    size: int
    packed: bool


def read_itk(path: Path, kind: TextFormat) -> Raw:
    """Voxels as they are stored. Raises `DataError`."""
    reader, shape, fit, mended = _open(path, kind)
    if reader.GetNumberOfComponents() != 1:
        raise not_grey(path, f"{reader.GetNumberOfComponents()} numbers per voxel")
    payload = _payload(read_text_header(path, kind), kind)
    if payload is not None:
        _require_all(path, payload)
    with _itk_errors(path):
        voxels = sitk.GetArrayFromImage(reader.Execute())  # (k, j, i); further axes come first
    return Raw(voxels.T.reshape(shape), fit, mended)


def read_itk_grid(path: Path, kind: TextFormat) -> Fit:
    """The grid, without the voxels. Raises `DataError`."""
    return _open(path, kind)[2]


def _open(path: Path, kind: TextFormat) -> tuple[Any, Shape, Fit, tuple[str, ...]]:
    """A reader that knows the header, the shape in the file, the grid, and what was mended."""
    header = read_text_header(path, kind)
    told = _check(header, kind)
    _require_there(path, _payload(header, kind))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(READERS[kind])
    with _itk_errors(path):
        reader.ReadImageInformation()
    shape, mended = spatial_shape(path, reader.GetSize())
    fit = placed(path, shape, _affine(reader))
    return reader, shape, fit, mended + told + fit.told


def read_text_header(path: Path, kind: TextFormat) -> TextHeader:
    """The lines before the voxels. Raises `OSError`."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for _ in range(MOST_LINES):
            line = stream.readline(2**16)
            text = line.decode("latin-1").strip()
            if not line or (kind == "nrrd" and not text):
                break
            name, _, value = text.partition("=" if kind == "metaimage" else ":")
            name = name.strip().lower()
            if not text.startswith("#") and not value.startswith("="):  # := is a user's own field
                fields[name] = value.strip()
            if kind == "metaimage" and name == "elementdatafile":
                break
        return TextHeader(path, fields, stream.tell())


def _check(header: TextHeader, kind: TextFormat) -> tuple[str, ...]:
    """Refuse a header whose geometry ITK would mend in silence; what was guessed is told."""
    if kind == "metaimage":
        if not header.get("elementdatafile"):
            raise damaged(header.path, "it ends within the header")
        edges = header.numbers("elementspacing", "elementsize")
        require_mm(header.path, header.get("distanceunits"))
        dimension = header.numbers("ndims")
        told: tuple[str, ...] = ()
    else:
        edges = _nrrd_edges(header)
        for unit in re.findall(r'"([^"]*)"', header.get("space units", "units")):
            require_mm(header.path, unit)
        dimension = header.numbers("dimension")
        known = ANATOMICAL.match(header.get("space")) and header.get("space directions")
        guess = "the header gives no orientation; took the axes as left, posterior, superior"
        told = () if known else (guess,)
    if dimension and dimension[0] >= 3 and len(edges) < 3:
        raise DataError(
            header.path,
            found=f"{len(edges) or 'no'} voxel edges in the header",
            expected="one edge per axis, in mm",
            fix="Add the spacing to the header with the tool that wrote it.",
        )
    require_edges(header.path, edges[:3])
    return told


def _nrrd_edges(header: TextHeader) -> list[float]:
    """Edges along the axes of space; an axis of another kind has none or NaN."""
    directions = header.get("space directions")
    if not directions:
        edges = header.numbers("spacings")
        return [edge for edge in edges if not np.isnan(edge)] if len(edges) > 3 else edges
    vectors = re.findall(r"\(([^)]*)\)", directions)
    try:
        return [float(np.linalg.norm([float(x) for x in v.split(",")])) for v in vectors]
    except ValueError as error:
        raise damaged(header.path, f"space directions are {directions}") from error


def _payload(header: TextHeader, kind: TextFormat) -> Payload | None:
    """Where a file has its voxels; None where finding out is left to ITK."""
    return _metaimage_payload(header) if kind == "metaimage" else _nrrd_payload(header)


def _metaimage_payload(header: TextHeader) -> Payload | None:
    name = header.get("elementdatafile")
    size = _size(header, header.get("elementtype"), "dimsize")
    spread = name.upper().startswith("LIST") or "%" in name
    binary = header.get("binarydata").lower() != "false"
    if size is None or spread or not name or not binary or header.get("headersize"):
        return None
    size *= int(header.get("elementnumberofchannels") or 1)
    packed = header.get("compresseddata").lower() == "true"
    if name.upper() == "LOCAL":
        return Payload(header.path, header.end, size, packed)
    return Payload(header.path.parent / name, 0, size, packed)


def _nrrd_payload(header: TextHeader) -> Payload | None:
    name = header.get("data file", "datafile")
    size = _size(header, header.get("type"), "sizes")
    packed = header.get("encoding").lower() in {"gzip", "gz"}
    plain = header.get("encoding").lower() == "raw"
    spread = name.upper().startswith("LIST") or "%" in name
    skipped = header.get("byte skip", "byteskip", "line skip", "lineskip") not in {"", "0"}
    if size is None or spread or skipped or not (packed or plain):
        return None
    if not name:
        return Payload(header.path, header.end, size, packed)
    return Payload(header.path.parent / name, 0, size, packed)


def _size(header: TextHeader, type_name: str, axes: str) -> int | None:
    """Bytes of all voxels; None for a type that is not known here."""
    words = type_name.lower()
    digits = re.search(r"\d+", words)
    each = next((size for word, size in BYTES.items() if word in words), None)
    if digits:  # int16_t
        each = int(digits.group()) // 8
    elif words in {"met_long", "met_ulong"}:
        each = 4
    if each is None:
        return None
    return int(np.prod([int(n) for n in header.numbers(axes)], dtype=object)) * each


def _require_there(path: Path, payload: Payload | None) -> None:
    """Raise `DataError` when the file of the voxels is missing."""
    if payload is not None and not payload.file.is_file():
        raise DataError(
            path,
            found=f"a header whose voxels lie in {payload.file.name}, which is not there",
            expected="header and voxels in one folder",
            fix="Copy both, under the names they were written with.",
        )


def _require_all(path: Path, payload: Payload) -> None:
    """Raise `DataError` unless all voxels are there and, if packed, can be unpacked."""
    if payload.packed:
        there = _unpacked_size(path, payload)
    else:
        there = payload.file.stat().st_size - payload.start
    if there < payload.size:
        raise damaged(path, f"{there} bytes of voxels; the header promises {payload.size}")


def _unpacked_size(path: Path, payload: Payload) -> int:
    """Bytes that zlib or gzip data unpack to, checked by their checksums."""
    stream, total = zlib.decompressobj(wbits=47), 0
    try:
        with payload.file.open("rb") as packed:
            packed.seek(payload.start)
            while not stream.eof and (chunk := packed.read(2**16)):
                total += len(stream.decompress(chunk))
    except zlib.error as error:
        raise damaged(path, str(error)) from error
    if not stream.eof:
        raise damaged(path, "its compressed voxels have no end")
    return total


def _affine(image: Any) -> NDArray[np.float64]:
    """File index -> RAS+ mm of an ITK image or reader, whose own world is LPS+."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = np.array(image.GetOrigin())[:3]
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's errors into ours and keep its warnings off the console."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1] if str(error).strip() else "unknown"
        raise damaged(path, detail) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
