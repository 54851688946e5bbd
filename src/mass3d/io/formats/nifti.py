"""NIfTI-1 and -2, plain or gzip, in either byte order.

nibabel mends headers in silence, down to a spacing of 1 mm where there is none. So the header is
looked at before nibabel sees it, and what is repaired is noted.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.formats.checks import (
    MAX_DEFLATE,
    MAX_USUAL,
    Raw,
    damaged,
    farthest_mm,
    not_grey,
    placed,
    require_edges,
    require_mm,
    spatial_shape,
)
from mass3d.io.formats.gunzip import GZIP, GunzipStream
from mass3d.io.formats.regular_file import open_unbuffered
from mass3d.io.formats.skewed_axes import MAX_SKEW_DEG, Fit
from mass3d.volume.geometry import Shape, skew_deg

DAMAGE = (HeaderDataError, OSError, EOFError, zlib.error, ValueError, OverflowError)
HEADERS: Final[dict[int, Any]] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
LENGTH_UNITS: Final = {1: "metres", 3: "micrometres"}  # other codes: mm or not said
MAX_DIMENSIONS = 7
BUFFER = 2**18  # bytes that are unpacked together
BEFORE_VOXELS = 2**11  # likewise where only the header is wanted
MAX_EXTENSIONS = 2**24  # bytes before the voxels that are searched for names of labels
MAX_EXTRA = 2**30  # unpacked bytes after the voxels that are looked at
AGREE_VOX = 0.1  # where header fields differ by less of a voxel, they agree


def read_nifti(path: Path) -> Raw:
    """Voxels as they are stored, scaled by slope and intercept. Raises `DataError`."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        shape, fit, repairs = _geometry(path, header)
        voxels = _read_voxels(path, header, stream)
        repairs += _rest(path, stream)
    return Raw(voxels.reshape(shape), fit, repairs)


def read_nifti_grid(path: Path) -> Fit:
    """The grid, without the voxels. Raises `DataError`."""
    with _opened(path, BEFORE_VOXELS) as stream:
        header = _read_header(path, stream)
        fit = _geometry(path, header)[1]
        offset = _require_room(path, header, stream)
        if isinstance(stream.raw, GunzipStream):
            _require_credible(path, header, stream, offset)
    return fit


def read_extensions(path: Path) -> list[bytes]:
    """The content of every header extension, whatever its code. Raises `DataError`."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        offset = _require_room(path, header, stream)
        flag = stream.read(4)
        if offset > MAX_EXTENSIONS or not flag[:1].strip(b"\0"):
            return []
        return list(_extensions(stream.read(offset - header.sizeof_hdr - 4), header.endianness))


def _extensions(block: bytes, endianness: str) -> Iterator[bytes]:
    """What lies between header and voxels: size, code and content, one after the other."""
    at = 0
    while at + 8 <= len(block):
        size, _ = struct.unpack_from(f"{endianness}2i", block, at)
        if not 8 <= size <= len(block) - at:
            return
        yield block[at + 8 : at + size]
        at += size


@contextmanager
def _opened(path: Path, buffer: int = BUFFER) -> Iterator[BufferedReader[Any]]:
    """The unpacked content; what goes wrong with it in the block is damage to the file.

    Odd numbers in the header raise no warning there: what matters becomes an error or a note.
    """
    try:
        opened = BufferedReader(open_unbuffered(path))
        with opened as stream, _quiet_nibabel(), np.errstate(all="ignore"):
            zipped = stream.peek(2)[:2] == GZIP
            yield BufferedReader(GunzipStream(stream), buffer) if zipped else stream
    except DAMAGE as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def _read_header(path: Path, stream: BufferedReader[Any]) -> Any:
    """The header as it is, of either version."""
    size = stream.read(4)
    big = int.from_bytes(size, "big") in HEADERS
    kind = HEADERS[int.from_bytes(size, "big" if big else "little")]
    block = size + stream.read(kind.sizeof_hdr - 4)
    if len(block) < kind.sizeof_hdr:
        raise damaged(path, f"it ends within the header, after {len(block)} bytes")
    return kind(block, endianness=">" if big else "<", check=False)


def _geometry(path: Path, header: Any) -> tuple[Shape, Fit, tuple[str, ...]]:
    """The shape in the file, the grid and what was repaired. The header loses its faults."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise damaged(path, f"it has {dimensions} dimensions")
    shape, repairs = spatial_shape(path, header.get_data_shape())
    require_mm(path, LENGTH_UNITS.get(int(header["xyzt_units"]) % 8, ""))
    edges = np.array(header["pixdim"][1:4], float)
    usable = header["sform_code"] > 0 and (
        header["qform_code"] <= 0 or _is_geometry(header.get_sform())
    )
    if not usable:
        require_edges(path, edges)
    header.check_fix(error_level=40)
    affine, notes = _affine(header, usable=usable)
    fit = placed(path, shape, np.asarray(affine, float))
    if usable:
        notes += _contradictions(shape, affine, edges, header)
    return shape, fit, repairs + notes + fit.notes


def _is_geometry(affine: NDArray[np.float64]) -> bool:
    """Whether the axes of an affine span space."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    sound = np.isfinite(affine).all() and np.isfinite(edges).all() and edges.all()
    return bool(sound and skew_deg(affine) <= MAX_SKEW_DEG)


def _affine(header: Any, *, usable: bool) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """File index -> RAS+ mm: the sform where usable, else the qform, else a guess, with a note."""
    if usable:
        return header.get_sform(), ()
    if header["qform_code"] > 0:
        note = "took the qform; the sform is no place and directions"
        return header.get_qform(), (note,) if header["sform_code"] > 0 else ()
    guess = "the header gives no orientation; took the axes as left, anterior, superior"
    return header.get_base_affine(), (guess,)


def _contradictions(
    shape: Shape, sform: NDArray[np.float64], edges: NDArray[np.float64], header: Any
) -> tuple[str, ...]:
    """In what the rest of the header does not agree with the sform, which is taken."""
    notes = []
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    near = AGREE_VOX * float(spacing.min())
    if not (np.abs(edges - spacing) * shape <= near).all():
        wrong = ", ".join(f"{edge:g}" for edge in edges)
        notes.append(f"took the spacing from the sform; pixdim says {wrong}")
    elif header["qform_code"] > 0:
        try:
            apart = farthest_mm(shape, sform, header.get_qform())
        except (ValueError, HeaderDataError):
            apart = np.inf
        if not apart <= near:
            notes.append(f"took the sform; the qform lies up to {apart:.3g} mm away")
    return tuple(notes)


def _read_voxels(path: Path, header: Any, stream: BufferedReader[Any]) -> NDArray[Any]:
    offset = _require_room(path, header, stream)
    slope, inter = _scaling(path, header)
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    voxels = np.empty(shape, dtype, order="F")  # takes memory only as it is filled
    _pass_bytes(path, stream, offset - header.sizeof_hdr)
    found = stream.readinto(voxels.ravel(order="K").view(np.uint8).data)
    if found < voxels.nbytes:
        raise damaged(path, f"{found} bytes of voxels; the header promises {voxels.nbytes}")
    return voxels if (slope, inter) == (1.0, 0.0) else _scaled(voxels, slope, inter)


def _pass_bytes(path: Path, stream: BufferedReader[Any], count: int) -> None:
    """Read over what lies between header and voxels."""
    while count > 0:
        piece = stream.read(min(count, BUFFER))
        if not piece:
            raise damaged(path, "it ends before its voxels")
        count -= len(piece)


def _require_room(path: Path, header: Any, stream: BufferedReader[Any]) -> int:
    """The byte at which the voxels begin. Raises `DataError` where the file cannot hold them."""
    dtype, shape = header.get_data_dtype(), header.get_data_shape()
    if dtype.fields is not None or dtype.kind == "c":
        raise not_grey(path, "colour or complex voxels")
    offset = header.get_data_offset()
    if offset < header.sizeof_hdr:  # some tools then take 348, some 352, and nibabel 0
        raise damaged(path, f"its voxels begin at byte {offset}, within the header")
    promised = offset + math.prod(map(int, shape)) * _itemsize(header)
    there = path.stat().st_size
    if promised > there * (MAX_DEFLATE if isinstance(stream.raw, GunzipStream) else 1):
        raise damaged(path, f"{there} bytes; the header promises {promised}")
    return int(offset)


def _require_credible(path: Path, header: Any, stream: BufferedReader[Any], offset: int) -> None:
    """Raise `DataError` where a header promises uncommonly much and it is not there."""
    promised = offset + math.prod(map(int, header.get_data_shape())) * _itemsize(header)
    if promised > MAX_USUAL * path.stat().st_size:
        _pass_bytes(path, stream, promised - header.sizeof_hdr)


def _itemsize(header: Any) -> int:
    return int(header.get_data_dtype().itemsize)


def _scaled(voxels: NDArray[Any], slope: float, inter: float) -> NDArray[np.float32]:
    """Stored numbers times slope plus intercept, in double precision, slice by slice."""
    scaled = np.empty(voxels.shape, np.float32, order="F")
    for k in range(voxels.shape[2]):
        scaled[:, :, k] = apply_read_scaling(voxels[:, :, k], slope, inter)
    return scaled


def _rest(path: Path, stream: BufferedReader[Any]) -> tuple[str, ...]:
    """Read to the end, as only that tells whether a gzip file was whole; tell what is too much."""
    if not isinstance(stream.raw, GunzipStream):
        extra = max(0, os.fstat(stream.fileno()).st_size - stream.tell())
        return (f"ignored {extra} bytes after the voxels",) if extra else ()
    extra = 0
    while more := stream.read(2**20):
        extra += len(more)
        if extra > MAX_EXTRA:
            raise damaged(path, f"more than {MAX_EXTRA} bytes after the voxels")
    if stream.raw.rest.strip(b"\0"):
        return ("ignored what follows the end of the gzip data",)
    return (f"ignored {extra} bytes after the voxels",) if extra else ()


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    """Slope and intercept of the stored numbers; (1, 0) where none are given."""
    if np.isinf([header["scl_slope"], header["scl_inter"]]).any():
        raise DataError(
            path,
            found=f"intensities scaled by {header['scl_slope']:g} plus {header['scl_inter']:g}",
            expected="a finite scl_slope and scl_inter",
            fix="Repair the header with the tool that wrote it.",
        )
    slope, inter = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (slope, inter)


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel's header notes off the console: what matters becomes an error or a note."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
