"""Small files do not take much memory, whatever they unpack to or promise.

Each is read in a process that may take half a gigabyte beside what its libraries take, which is
less than the files unpack to.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ZEROS = bytes(2**20)
CHILD = """
import json, resource, sys
from pathlib import Path
import numpy, nibabel, SimpleITK, pydicom
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.read import read_grid, read_label, read_volume
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
told = []
try:
    cases = [case.scan for case in find_cohort([Path(sys.argv[1])]).cases]
except DataError as error:
    told.append(str(error))
    cases = []
for scan in cases:
    for read in (read_grid, read_volume, read_label):
        try:
            read(scan)
            told.append("read")
        except DataError as error:
            told.append(str(error))
# of this process alone: what getrusage tells is at least what the parent had when it forked
kib = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(json.dumps({"told": told, "kib": int(kib)}))
"""


def pieces(pack: object, count: int) -> Iterator[bytes]:
    """`count` MiB of zeros, packed."""
    for _ in range(count):
        yield pack.compress(ZEROS)  # type: ignore[attr-defined]
    yield pack.flush()  # type: ignore[attr-defined]


def nrrd(sizes: str, encoding: str, *lines: str) -> bytes:
    text = ["NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior"]
    text += [f"sizes: {sizes}", "space directions: (1,0,0) (0,1,0) (0,0,1)", "endian: little"]
    return "\n".join([*text, f"encoding: {encoding}", *lines, "", ""]).encode()


def nrrd_of_much(folder: Path) -> None:
    """700 MB of zeros in bzip2, as many as the header says."""
    packed = b"".join(pieces(bz2.BZ2Compressor(), 700))
    assert len(packed) < 5000
    (folder / "a.nrrd").write_bytes(nrrd("1024 1024 350", "bzip2") + packed)


def nrrd_of_more(folder: Path) -> None:
    """700 MB of zeros in bzip2, behind a header of 210 voxels."""
    packed = b"".join(pieces(bz2.BZ2Compressor(), 700))
    (folder / "a.nrrd").write_bytes(nrrd("5 6 7", "bzip2") + packed)


def gzip_with_a_tail(folder: Path) -> None:
    """Voxels of a small scan, then 700 MB of zeros."""
    packed = b"".join(pieces(zlib.compressobj(9, wbits=31), 700))
    header = nrrd("5 6 7", "gzip")
    (folder / "a.nrrd").write_bytes(header + gzip.compress(bytes(420)) + packed)


def file_with_a_hole(folder: Path) -> None:
    """Voxels of a small scan, then 5 GB of a file that were never written."""
    with (folder / "a.nrrd").open("wb") as stream:
        stream.write(nrrd("5 6 7", "gzip") + gzip.compress(bytes(420)))
        stream.truncate(5 * 2**30)


def nifti_of_much(folder: Path) -> None:
    """A gzip file of 700 MB of zeros that is called NIfTI."""
    packed = b"".join(pieces(zlib.compressobj(9, wbits=31), 700))
    (folder / "a.nii.gz").write_bytes(packed)


def archive_of_much(folder: Path) -> None:
    """A zip archive of 700 kB with one member of 700 MB."""
    with (
        zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("1.dcm", "w", force_zip64=True) as member,
    ):
        member.write(bytes(128) + b"DICM")
        for _ in range(700):
            member.write(ZEROS)


def many_names(folder: Path) -> None:
    """A header of 200 bytes that names 10^9 files, with names of 10^8 letters."""
    (folder / "a.nhdr").write_bytes(nrrd("5 6 7", "raw", "data file: x%0100000000d.raw 1 7 1"))
    (folder / "b.nhdr").write_bytes(nrrd("5 6 7", "raw", "data file: x%d.raw 1 1000000000 1"))
    (folder / "c.mhd").write_text(
        "NDims = 3\nDimSize = 5 6 7\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
        "ElementDataFile = x%0100000000d.raw 1 7 1\n"
    )


def deep_dicom(folder: Path) -> None:
    """An item in an item, 100,000 times."""
    opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    meta = io.BytesIO()
    meta.write(bytes(128) + b"DICM\x02\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0")
    (folder / "1.dcm").write_bytes(meta.getvalue() + 100_000 * opened)


FILES: list[Callable[[Path], None]] = [
    nrrd_of_much,
    nrrd_of_more,
    gzip_with_a_tail,
    file_with_a_hole,
    nifti_of_much,
    archive_of_much,
    many_names,
    deep_dicom,
]


@pytest.mark.slow
@pytest.mark.parametrize("make", FILES, ids=lambda make: str(make.__name__))
def test_a_small_file_takes_little_memory_and_few_words(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["told"]
    assert max(map(len, found["told"])) < 3000
    assert found["kib"] < 900 * 1024
