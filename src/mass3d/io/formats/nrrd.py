"""NRRD (.nrrd, .nhdr)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.checks import damaged, not_grey, require_mm
from mass3d.io.formats.data_files import data_files
from mass3d.io.formats.parsed_header import ParsedHeader
from mass3d.io.formats.payload import Packing, Payload
from mass3d.io.formats.text_header import (
    DATA_FILE,
    LPS_TO_RAS,
    TextHeader,
    read_text_header,
    require_each_edge,
    world,
)

TYPES: Final = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPE_OF: Final = {name: code for code, names in TYPES.items() for name in names.split(", ")}
PACKINGS: Final[dict[str, Packing]] = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "txt": "ascii",
    "text": "ascii",
    "ascii": "ascii",
    "hex": "hex",
}
# towards which side each axis of the world grows
ANATOMICAL: Final = re.compile(r"(left|right)-(anterior|posterior)-(superior|inferior)", re.I)
SHORT: Final = re.compile(r"([LR])([AP])([SI])(T?)", re.I)
VECTOR: Final = re.compile(r"none|\(([^()]*)\)", re.I)
GUESS: Final = "the header gives no orientation; took the axes as left, posterior, superior"


def parse_nrrd(path: Path) -> ParsedHeader:
    """What the header of a NRRD says. Raises `DataError`."""
    header = read_text_header(path, separator=":")
    sizes = header.whole("sizes")
    if not sizes:
        raise damaged(path, "its header gives no sizes")
    if header.whole("dimension") != [len(sizes)]:
        found = f"dimension is {header.get('dimension')}, sizes are {header.get('sizes')}"
        raise damaged(path, found)
    for unit in re.findall(r'"([^"]*)"', header.get("space units", "units")):
        require_mm(path, unit)
    axes = _axes(header, len(sizes))
    if len(sizes) > 3 and axes.places[0] > 0 and sizes[0] > 1:
        raise not_grey(path, f"{sizes[0]} numbers per voxel")
    require_each_edge(path, axes.edges, len(sizes))
    signs = _signs(header)
    affine = np.eye(4)
    if len(sizes) >= 3:  # others are refused for their shape
        affine = world(axes.vectors, _origin(header, axes), LPS_TO_RAS if signs is None else signs)
    others = [place for place in range(len(sizes)) if place not in axes.places]
    return ParsedHeader(
        path,
        tuple(sizes[place] for place in [*axes.places, *others]),
        affine,
        _payload(header),
        () if signs is not None else (GUESS,),
    )


@dataclass(frozen=True)
class _Axes:
    """The axes of space among those of the file."""

    places: list[int]  # which they are
    edges: list[float]  # mm, as the header has them
    vectors: NDArray[np.float64]  # (3, axes): the step along each in the world, mm


def _axes(header: TextHeader, dimension: int) -> _Axes:
    """Raises `DataError`."""
    text = header.get("space directions")
    if not text:
        return _axes_by_spacing(header, dimension)
    found = [match[1] for match in VECTOR.finditer(text)]
    places = [place for place, vector in enumerate(found) if vector is not None]
    try:
        vectors = [[float(x) for x in found[place].split(",")] for place in places]
        columns = np.array(vectors, np.float64).reshape(len(places), -1)[:, :3].T
    except ValueError as error:
        raise damaged(header.path, f"space directions are {text}") from error
    if len(found) != dimension or (places and len(columns) != 3 and dimension >= 3):
        raise damaged(header.path, f"space directions are {text}")
    with np.errstate(over="ignore"):
        edges = np.linalg.norm(columns, axis=0).tolist()
    return _Axes(places, edges, columns[:, :3])


def _axes_by_spacing(header: TextHeader, dimension: int) -> _Axes:
    """Axes along those of the world; one of another kind has no edge but NaN."""
    edges = header.numbers("spacings")
    if len(edges) not in {0, dimension}:
        raise damaged(header.path, f"spacings are {header.get('spacings')}")
    places = [n for n in range(dimension) if not (dimension > 3 and edges and np.isnan(edges[n]))]
    own = [edges[place] for place in places] if edges else []
    steps = np.diag((own + [1.0] * 3)[:3])
    return _Axes(places, own, steps)


def _signs(header: TextHeader) -> NDArray[np.float64] | None:
    """How the axes of the header's world lie in RAS+; None where it does not say."""
    space = header.get("space")
    named = ANATOMICAL.match(space)
    short = SHORT.fullmatch(space)
    if not header.get("space directions") or not (named or short):
        return None
    letters = [word[0].upper() for word in (named or short).groups()[:3]]  # type: ignore[union-attr]
    return np.diag([1.0 if letter in "RAS" else -1.0 for letter in letters])


def _origin(header: TextHeader, axes: _Axes) -> NDArray[np.float64]:
    """The place of the first voxel; 0 where none is given. Raises `DataError`."""
    lowest = header.numbers("axis mins", "axismins")
    if not header.get("space directions") and len(lowest) > max(axes.places):
        centres = header.get("centers", "centerings").lower().split()
        halves = [0.0 if "node" in centres else edge / 2 for edge in axes.edges]
        places = [lowest[place] + half for place, half in zip(axes.places, halves, strict=True)]
        return np.nan_to_num(places[:3])
    text = header.get("space origin")
    try:
        origin = [float(x) for x in text.strip("() ").split(",")][:3] if text else [0.0] * 3
    except ValueError as error:
        raise damaged(header.path, f"space origin is {text}") from error
    if len(origin) != 3:
        raise damaged(header.path, f"space origin is {text}")
    return np.array(origin)


def _payload(header: TextHeader) -> Payload:
    kind = " ".join(header.get("type").lower().split())
    packing = header.get("encoding").lower() or "none"
    if kind not in TYPE_OF:
        raise damaged(header.path, f"type is {kind or 'not given'}")
    if packing not in PACKINGS:
        raise DataError(
            header.path,
            found=f"voxels with the encoding {packing}",
            expected="raw, gzip, bzip2, ascii or hex",
            fix="Write the file again with one of these.",
        )
    endian = header.get("endian").lower()
    dtype = np.dtype(TYPE_OF[kind])
    if dtype.itemsize > 1 and PACKINGS[packing] != "ascii" and endian not in {"little", "big"}:
        raise damaged(header.path, f"endian is {endian or 'not given'}")
    name = header.get(*DATA_FILE)
    files = data_files(header, name) if name else (header.path,)
    lines = _count(header, "line skip", "lineskip")
    skip = _count(header, "byte skip", "byteskip")
    start = 0 if name else header.end
    if skip == -1 and PACKINGS[packing] == "raw":
        skip, start, lines = 0, -1, 0
    if min(lines, skip) < 0:
        raise damaged(header.path, f"it passes over {lines} lines and {skip} bytes")
    dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    return Payload(files, dtype, PACKINGS[packing], start=start, lines=lines, skip=skip)


def _count(header: TextHeader, *names: str) -> int:
    return (header.whole(*names) or [0])[0]
