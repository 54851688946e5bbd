"""What a file is, by its first bytes: names and suffixes are not trusted."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Final, Literal

from mass3d.errors import DataError
from mass3d.io.formats.checks import damaged
from mass3d.io.formats.gunzip import GZIP, GunzipStream
from mass3d.io.formats.regular_file import open_unbuffered

Format = Literal["nifti", "nrrd", "metaimage"]
READABLE: Final = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd)"
MARKED: Final = 132  # bytes at the start of a file that show whether it is DICOM
ENOUGH: Final = 1024  # unpacked bytes that show what a file is
METAIMAGE: Final = re.compile(rb"^(ObjectType|NDims|DimSize|ElementType)\s*=", re.MULTILINE)
# size of the header, which comes first -> place and text of the mark of a single file
NIFTI: Final = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}


def sniff(path: Path) -> Format:
    """The format of an image file. Raises `DataError` for anything else, saying what it is."""
    start = _start(path)
    zipped = start[:2] == GZIP
    if zipped:
        start = _unzipped(path)
    found: Format | None = None
    if has_dicom_start(start[:MARKED]):  # whose first 128 bytes may be anything, even NIfTI's
        raise _dicom(path, zipped=zipped)
    if _is_nifti(path, start):
        return "nifti"
    if start.startswith(b"NRRD000"):
        found = "nrrd"
    elif METAIMAGE.search(start):
        found = "metaimage"
    if found is None:
        raise _stranger(path, start)
    if zipped:
        raise DataError(
            path,
            found=f"a gzip file around a {found} file",
            expected=READABLE,
            fix="Unpack it; these formats have a compression of their own.",
        )
    return found


def is_dicom(path: Path) -> bool:
    """Whether a readable file begins as DICOM does."""
    try:
        with open_unbuffered(path) as stream:
            return has_dicom_start(stream.read(MARKED))
    except (OSError, DataError, ValueError):
        return False


def is_zip(path: Path) -> bool:
    """Whether a file is an archive, which only its name can tell: other formats are zipped too."""
    return path.suffix.lower() == ".zip"


def has_dicom_start(start: bytes) -> bool:
    """Whether a file that begins so has the mark of DICOM or, of an old one, its first tag.

    The first tag is of group 2 or 8, little-endian, and low in the group: its length or a UID.
    """
    if start[128:MARKED] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    return len(start) == MARKED and group in {2, 8} and element <= 0x18


def _start(path: Path) -> bytes:
    try:
        with open_unbuffered(path) as stream:
            start = stream.read(4096)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            path,
            found=f"no readable file ({why})",
            expected=READABLE,
            fix="Check the path and the permissions.",
        ) from error
    if not start:
        raise DataError(
            path, found="an empty file", expected=READABLE, fix="Copy or export it again."
        )
    return start


def _unzipped(path: Path) -> bytes:
    """The first bytes in a gzip file, of whatever members; fewer where it is cut off."""
    start = b""
    try:
        with open_unbuffered(path) as packed:
            stream = GunzipStream(packed)
            while len(start) < ENOUGH and (piece := stream.read(ENOUGH - len(start))):
                start += piece
    except EOFError:
        pass  # reading it will say where it ends
    except (OSError, zlib.error) as error:
        raise damaged(path, str(error)) from error
    return start


def _is_nifti(path: Path, start: bytes) -> bool:
    """Whether this is a NIfTI file that holds its voxels. Raises `DataError` for half of one."""
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & NIFTI.keys()
    if not sizes:
        return False
    size = sizes.pop()
    if len(start) < size:
        raise damaged(path, f"it ends within the header, after {len(start)} bytes")
    place, mark = NIFTI[size]
    if start[place : place + len(mark)] != mark:
        raise DataError(
            path,
            found="a header of Analyze or of a NIfTI pair (.hdr, .img), without voxels",
            expected=READABLE,
            fix="Convert the pair to one .nii file.",
        )
    return True


def _dicom(path: Path, *, zipped: bool) -> DataError:
    fix = "DICOM is read as scans, not as label maps: convert it to NIfTI."
    return DataError(
        path,
        found="a gzip file around a DICOM file" if zipped else "a DICOM file",
        expected=READABLE,
        fix="Unpack it." if zipped else fix,
    )


def _stranger(path: Path, start: bytes) -> DataError:
    return DataError(
        path,
        found=f"content that begins with {start[:16]!r}",
        expected=READABLE,
        fix="This is not an image file of these formats, whatever its name says.",
    )
