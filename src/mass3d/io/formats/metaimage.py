"""MetaImage (.mha, .mhd)."""

from __future__ import annotations

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
    LPS_TO_RAS,
    TextHeader,
    read_text_header,
    require_each_edge,
    world,
)

TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def parse_metaimage(path: Path) -> ParsedHeader:
    """What the header of a MetaImage says. Raises `DataError`."""
    header = read_text_header(path, separator="=")
    if not header.get("elementdatafile"):
        raise damaged(path, "it ends within the header")
    sizes = header.whole("dimsize")
    if header.whole("ndims") != [len(sizes)]:
        raise damaged(path, f"NDims is {header.get('ndims')}, DimSize is {header.get('dimsize')}")
    channels = header.whole("elementnumberofchannels") or [1]
    if channels != [1]:
        raise not_grey(path, f"{channels[0]} numbers per voxel")
    require_mm(path, header.get("distanceunits"))
    _require_plain_numbers(header)
    edges = header.numbers("elementspacing", "elementsize")
    require_each_edge(path, edges, len(sizes))
    return ParsedHeader(path, tuple(sizes), _affine(header, edges), _payload(header))


def _affine(header: TextHeader, edges: list[float]) -> NDArray[np.float64]:
    """File index -> RAS+ mm; without a matrix or an origin, none is meant."""
    n = header.whole("ndims")[0]
    matrix = header.numbers("transformmatrix", "rotation", "orientation") or np.eye(n).ravel()
    origin = header.numbers("offset", "position", "origin") or [0.0] * n
    if len(matrix) != n * n or len(origin) != n:
        raise damaged(header.path, f"its matrix or its place is not of {n} dimensions")
    if n < 3:
        return np.eye(4)  # refused for its shape
    # the file has one line per axis, with its direction in the world
    directions = np.reshape(matrix, (n, n)).T[:3, :3]
    return world(directions * edges[:3], np.array(origin[:3]), LPS_TO_RAS)


def _payload(header: TextHeader) -> Payload:
    kind = header.get("elementtype").upper()
    if kind not in TYPES:
        raise damaged(header.path, f"ElementType is {kind}")
    big = _flag(header, "binarydatabyteordermsb", "elementbyteordermsb")
    packing: Packing = "gzip" if _flag(header, "compresseddata") else "raw"
    if not _flag(header, "binarydata", default=True):
        packing = "ascii"
    start = (header.whole("headersize") or [0])[0]
    if start < -1:
        raise damaged(header.path, f"HeaderSize is {start}")
    local = header.get("elementdatafile").upper() == "LOCAL"
    files = (header.path,) if local else data_files(header, header.get("elementdatafile"))
    start = start or (header.end if local else 0)
    dtype = np.dtype(TYPES[kind]).newbyteorder(">" if big else "<")
    return Payload(files, dtype, packing, start=start)


def _flag(header: TextHeader, *names: str, default: bool = False) -> bool:
    text = header.get(*names).lower()
    return text[0] in {"t", "1", "y"} if text else default


def _require_plain_numbers(header: TextHeader) -> None:
    """Raise `DataError` where the header scales intensities: some tools heed it, most do not."""
    slope = header.numbers("elementtointensityfunctionslope") or [1.0]
    offset = header.numbers("elementtointensityfunctionoffset") or [0.0]
    if (slope, offset) != ([1.0], [0.0]):
        raise DataError(
            header.path,
            found="intensities scaled by ElementToIntensityFunction",
            expected="intensities as they are stored",
            fix="Write the scan again with the scale applied; tools differ in how they read this.",
        )
