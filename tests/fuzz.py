"""Throw mutated files at the readers: `python tests/fuzz.py --count 200000 --seed 1`.

Scans are mutated here, and what mass3d itself writes in `fuzz_records.py`.

Every mutant is a function of (seed, index). Child processes read them with little memory and a
limit of time, so that a crash or a hang of a C library is caught, named and kept as a file.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import math
import mmap
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk

import dicoms
import fuzz_records
import scans
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.formats.skewed_axes import MAX_GROWTH
from mass3d.io.read import read_grid, read_label, read_volume
from mass3d.volume.volume import Volume

SPARE_BYTES = 2**29  # of address space, above what the libraries take themselves
CPU_SECONDS = 20  # for one mutant; the usual one takes milliseconds
ODD_SHORTS = (0, 1, 2, -1, 3, 7, 255, 4096, 32767, -32768)
ODD_FLOATS = (0.0, -1.0, math.nan, math.inf, -math.inf, 1e-30, 1e30, 1e300, 0.5, 352.0, 353.0)
ODD_WORDS = (
    *("0", "-1", "1", "2", "3", "4", "1e9", "99999999999", "2147483648", "-2147483648", "abc", ""),
    *("18446744073709551615", "nan", "inf", "-inf", "1e-300", "1e300", "0.0001", "none", "(1,0,0)"),
    *("(nan,0,0)", "(1e300,0,0)", "True", "False", "raw", "gzip", "LOCAL", "LIST", '"um"'),
)
ODD_LINES = {
    "mha": (
        *("HeaderSize = -1", "HeaderSize = 5", "HeaderSize = 99999999", "CompressedData = True"),
        *("BinaryData = False", "ElementNumberOfChannels = 3", "ElementNumberOfChannels = -1"),
        *("ElementNumberOfChannels = 0", "ElementDataFile = x%03d.raw 1 3 1", "NDims = 4"),
        *("ElementDataFile = LIST", "ElementDataFile = LIST 2", "ElementDataFile = .", "NDims = 0"),
        *("DimSize = 5 6 7 2", "ElementType = MET_DOUBLE", "ElementType = MET_OTHER", "NDims = 99"),
        *("ElementType = MET_LONG_LONG", "BinaryDataByteOrderMSB = True", "CompressedDataSize = 9"),
        *("CompressedDataSize = -1", "ElementSize = 0 0 0", "Rotation = 0 0 0 0 0 0 0 0 0"),
        *("ElementToIntensityFunctionSlope = 2", "ElementDataFile = ..", "ObjectType = Mesh"),
    ),
    "nrrd": (
        *("byte skip: -1", "byte skip: 5", "byte skip: 99999999999", "line skip: 3", "space: RAS"),
        *("line skip: 99999999", "encoding: ascii", "encoding: hex", "encoding: bzip2"),
        *("encoding: gzip", "encoding: raw", "endian: big", "data file: LIST", "data file: ."),
        *("data file: x%03d.raw 1 3 1", "data file: x%03d.raw 1 999999999 1", "type: block"),
        *("block size: 8", "type: double", "dimension: 4", "dimension: 16", "dimension: 0"),
        *("sizes: 5 6 7 2", "kinds: list domain domain", "spacings: nan 1 1", "space dimension: 3"),
        *("kinds: 3-vector domain domain", "axis mins: nan nan nan", "measurement frame: (1,0,0)"),
        *("space: scanner-xyz", "space origin: (nan,0,0)", "centers: cell cell cell", "min: abc"),
    ),
}
TAG = re.compile(rb"[\x08\x10\x18\x20\x28\x54]\0..[A-Z]{2}", re.DOTALL)  # a group and a type


@dataclass(frozen=True)
class Seed:
    """Sound files of which the `target` is mutated; the others stay as they are."""

    kind: str  # nifti, nrrd, mha, dicom, zip, or a kind of record
    files: dict[str, bytes]
    target: str


@dataclass(frozen=True)
class Finding:
    """A mutant that was not dealt with as it must be."""

    seed: int
    index: int
    kind: str
    what: str
    file: str = ""  # the mutant, kept


# --- sound files --------------------------------------------------------------------------------


def sound(folder: Path) -> list[Seed]:
    """One small file of every kind, made in an empty folder."""
    records = (Seed(*one) for one in fuzz_records.sound(folder / "records"))
    return [*_niftis(), *_itk_files(folder / "itk"), *_dicoms(folder / "dicom"), *records]


def _niftis() -> list[Seed]:
    oblique = np.array([[1, 0.1, 0, 4], [-0.1, 1, 0, 5], [0, 0, 2, 6], [0, 0, 0, 1.0]])

    def both(header: Any) -> None:
        header.set_qform(oblique, code=1)
        header["scl_slope"], header["scl_inter"] = 2, 100

    made = {
        "a.nii": scans.nifti_bytes(scans.voxels(), oblique, header=both),
        "b.nii": scans.nifti_bytes(scans.voxels(np.float32), oblique, byte_order=">"),
        "c.nii": scans.nifti_bytes(scans.voxels("u1"), version=2),
        "d.nii": scans.nifti_bytes(scans.voxels()[..., None]),
    }
    seeds = [Seed("nifti", {name: content}, name) for name, content in made.items()]
    packed = gzip.compress(made["a.nii"], 1, mtime=0)
    return [*seeds, Seed("nifti", {"e.nii.gz": packed}, "e.nii.gz")]


def _itk_files(folder: Path) -> list[Seed]:
    folder.mkdir(parents=True)
    seeds = []
    for name, kind in (("mha", np.int16), ("nrrd", np.uint8), ("mhd", np.float32), ("nhdr", "i4")):
        for packed in (False, True):
            image = scans.itk_image(scans.voxels(kind))
            place = folder / f"{name}{packed}"
            place.mkdir()
            path = scans.write_itk(place / f"a.{name}", image, packed=packed)
            files = {file.name: file.read_bytes() for file in place.iterdir()}
            seeds.append(Seed("mha" if name[0] == "m" else "nrrd", files, path.name))
    return seeds


def _dicoms(folder: Path) -> list[Seed]:
    made = {
        "ct": lambda place: dicoms.series(place, [0, 2, 4]),
        "pet": lambda place: dicoms.series(place, [0, 2, 4], modality="PT", change=dicoms.pet),
        "rle": lambda place: dicoms.series(place, [0, 2, 4], compressed=True),
        "frames": lambda place: dicoms.multi_frame(place / "a", [0, 2, 4], echoes=(5.0, 20.0)),
    }
    seeds = []
    for name, make in made.items():
        make(folder / name)
        files = {}
        for number, file in enumerate(sorted((folder / name).iterdir())):
            ds, stream = pydicom.dcmread(file), io.BytesIO()
            # fresh identifiers would make another mutant of the same number
            ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3", f"1.2.3.{number}"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(stream)
            files[file.name] = stream.getvalue()
        seeds.append(Seed("dicom", files, next(iter(files))))
    for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"):
        files = dict(_moved(str(pydicom.data.get_testdata_file(name))))
        seeds.append(Seed("dicom", files, "0"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in seeds[0].files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return [*seeds, Seed("zip", {"a.zip": stream.getvalue()}, "a.zip")]


def _moved(path: str) -> Iterator[tuple[str, bytes]]:
    """Two slices made of one."""
    ds = pydicom.dcmread(path)
    for number in range(2):
        ds.SOPInstanceUID, ds.ImagePositionPatient = f"1.2.{number + 1}", [0, 0, number]
        stream = io.BytesIO()
        ds.save_as(stream)
        yield str(number), stream.getvalue()


# --- mutations ----------------------------------------------------------------------------------


def mutate(rng: random.Random, seed: Seed, others: list[Seed]) -> bytes:
    """The target of a seed, changed in one to four places."""
    content = seed.files[seed.target]
    inner = seed.target.endswith(".gz") and rng.random() < 0.7
    if inner:
        content = gzip.decompress(content)
    aware = {"nifti": _nifti_field, "nrrd": _text_line, "mha": _text_line, "dicom": _element}
    aware |= fuzz_records.MUTATIONS
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        blind: list[Callable[[random.Random, bytes], bytes]] = [_flip, _overwrite, _cut, _repeat]
        if seed.kind in aware and rng.random() < 0.6:
            content = aware[seed.kind](rng, content)
        elif rng.random() < 0.1:
            content = _splice(rng, content, rng.choice(others).files)
        else:
            content = rng.choice(blind)(rng, content)
    return gzip.compress(content, 1, mtime=0) if inner else content


def _place(rng: random.Random, content: bytes) -> int:
    """A byte of the file, of its first thousand more often than not."""
    end = len(content) if rng.random() < 0.3 else min(len(content), 1000)
    return rng.randrange(max(1, end))


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(rng, content)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, content: bytes) -> bytes:
    start, length = _place(rng, content), rng.choice((1, 1, 2, 4, 8, 64))
    filling = rng.choice((b"\0", b"\xff", b"\x7f", rng.randbytes(1)))
    return content[:start] + filling * length + content[start + length :]


def _cut(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.5:
        return content[: rng.randrange(len(content) + 1)]
    start = _place(rng, content)
    return content[:start] + content[start + rng.choice((1, 2, 4, 30, 300)) :]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    start, length = _place(rng, content), rng.choice((1, 2, 8, 100, 1000))
    return content[: start + length] + content[start:]


def _splice(rng: random.Random, content: bytes, files: dict[str, bytes]) -> bytes:
    other = rng.choice(sorted(files.values()))
    return content[: _place(rng, content)] + other[_place(rng, other) :]


def _nifti_field(rng: random.Random, content: bytes) -> bytes:
    """A field of the header set to a value that is none, or none that goes with the others."""
    second = content[:4] in {struct.pack("<i", 540), struct.pack(">i", 540)}
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    if len(content) < kind.sizeof_hdr:
        return _flip(rng, content)
    header = np.frombuffer(content[: kind.sizeof_hdr], kind.template_dtype).copy()
    big = content[:1] == b"\0"
    header = header.view(header.dtype.newbyteorder(">")) if big else header
    names: tuple[str, ...] = (
        "dim",
        "dim",
        "datatype",
        "bitpix",
        "pixdim",
        "vox_offset",
        "scl_slope",
        "scl_inter",
    )
    names += ("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_d", "qoffset_x")
    name = rng.choice((*names, "srow_x", "srow_y", "srow_z", "magic", "sizeof_hdr", "slice_start"))
    field = header[name].reshape(-1)
    if field.dtype.kind == "S":
        field[:] = rng.choice((b"n+1", b"ni1", b"n+2", b""))
    else:
        odd = ODD_FLOATS if field.dtype.kind == "f" else (*ODD_SHORTS, *(2**n for n in range(12)))
        bound = 2 ** (8 * field.dtype.itemsize - 1) - 1
        value = rng.choice((*odd, bound, -bound)) if field.dtype.kind == "i" else rng.choice(odd)
        with np.errstate(all="ignore"):
            place = rng.randrange(field.size)
            field[place] = np.array(value).astype(field.dtype)
    return header.tobytes() + content[kind.sizeof_hdr :]


def _text_line(rng: random.Random, content: bytes) -> bytes:
    """A line of the header with another number, gone, doubled, moved, or one more line."""
    lines = content[:1000].split(b"\n")
    rest = content[1000:]
    row = rng.randrange(min(len(lines), 16))
    kind = "nrrd" if content.startswith(b"NRRD") else "mha"
    choice = rng.random()
    if choice < 0.45:
        words = re.split(rb"([ ,()]+)", lines[row])
        words[rng.randrange(len(words))] = rng.choice(ODD_WORDS).encode()
        lines[row] = b"".join(words)
    elif choice < 0.55:
        del lines[row]
    elif choice < 0.6:
        lines.insert(row, lines[row])
    elif choice < 0.65:
        other = rng.randrange(min(len(lines), 16))
        lines[row], lines[other] = lines[other], lines[row]
    else:
        odd = rng.choice(ODD_LINES[kind]).encode()
        name = re.split(rb"[:=]", odd)[0].strip().lower()
        same = [n for n, line in enumerate(lines[:16]) if line.lower().startswith(name)]
        if same:
            lines[same[0]] = odd
        else:
            lines.insert(max(1, row), odd)
    return b"\n".join(lines) + rest


def _element(rng: random.Random, content: bytes) -> bytes:
    """A DICOM element with another length, type or value, gone, doubled, or nested deeply."""
    places = [match.start() for match in TAG.finditer(content)]
    if not places:
        return _flip(rng, content)
    start = rng.choice(places)
    choice = rng.randrange(7)
    body = bytearray(content)
    if choice == 0:  # the length
        body[start + 6 : start + 8] = struct.pack("<H", rng.choice((0, 1, 3, 255, 65534, 65535)))
    elif choice == 1:
        body[start + 8 : start + 12] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1)))
    elif choice == 2:  # the type
        body[start + 4 : start + 6] = rng.choice(
            (b"SQ", b"UN", b"OB", b"DS", b"US", b"FD", b"\0\0")
        )
    elif choice == 3:  # the value
        end = start + 8 + rng.randrange(1, 12)
        body[start + 8 : end] = rng.choice((b"9", b"-", b".", b"\\", b"e", b"\0", b"\xff")) * (
            end - start - 8
        )
    elif choice == 4:
        following = [place for place in places if place > start]
        del body[start : following[0] if following else start + 8]
    elif choice == 5:
        body[start:start] = body[start : start + 40]
    else:
        depth = rng.choice((1, 10, 500, 3000))
        opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
        body[start:start] = opened * depth
    return bytes(body)


# --- what must hold -----------------------------------------------------------------------------


def read_all(seed: Seed, target: Path) -> str:
    """Read a mutant in every way; what came of it. Raises whatever is not a `DataError`."""
    if seed.kind in {"dicom", "zip"}:
        return _read_dicom(target.parent)
    if seed.kind in fuzz_records.READERS:
        return fuzz_records.read_record(seed.kind, target, seed.target)
    outcome = "read"
    try:
        grid = read_grid(target).grid
    except DataError as error:
        grid, outcome = None, f"refused: {error.found[:40]}"
    for read in (read_volume, read_label):
        try:
            volume = read(target)
        except DataError as error:
            outcome = f"refused: {error.found[:40]}"
            continue
        _require_sound(volume)
        assert volume.grid == grid, "the header alone gives another grid"
        if not any("resampled" in told for told in volume.repairs):
            shape = tuple(volume.source.from_canonical(volume.voxels).shape)
            declared = declared_shapes(seed.kind, target.read_bytes())
            assert shape in declared, f"shape {shape}, declared is {declared}"
    return outcome


def _read_dicom(folder: Path) -> str:
    outcome = "refused: cohort"
    try:
        cases = find_cohort([folder]).cases
    except DataError:
        return outcome
    for case in cases:
        try:
            volume = read_volume(case.scan)
        except DataError as error:
            outcome = f"refused: {error.found[:40]}"
            continue
        _require_sound(volume)
        assert read_grid(case.scan).grid == volume.grid, "the headers alone give another grid"
        if case.series is None:
            continue
        outcome = "read"
        shape = tuple(volume.source.from_canonical(volume.voxels).shape)
        rows, columns = case.series.slices[0].shape
        tilted = any("resampled to a regular grid" in told for told in volume.repairs)
        assert tilted or shape[:2] == (columns, rows), f"shape {shape}"
        assert volume.voxels.size <= MAX_GROWTH * rows * columns * 2 * len(case.series.slices)
    return outcome


def _require_sound(volume: Volume) -> None:
    voxels = volume.voxels
    assert voxels.dtype in {np.dtype(np.float32), np.dtype(np.uint16)}, voxels.dtype
    assert voxels.flags.c_contiguous
    assert np.isfinite(voxels).all()
    assert all(1e-5 <= edge <= 1e4 for edge in volume.spacing_mm), volume.spacing_mm
    axes = volume.grid.affine[:3, :3] / volume.spacing_mm
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-5), "the grid is not perpendicular"


def declared_shapes(kind: str, content: bytes) -> set[tuple[int, ...]]:
    """The shapes that a header declares, looked up by other means than those of the reader."""
    if kind == "nifti":
        return {_nifti_shape(content)}
    found = set()
    name = rb"sizes?:" if content.startswith(b"NRRD") else rb"dimsize\s*="
    for match in re.finditer(rb"^\s*" + name + rb"\s*([^\r\n]*)", content, re.I | re.M):
        sizes = [int(float(word)) for word in re.findall(rb"[-+\d.e]+", match[1])]
        found.add(tuple(sizes[:3]))
        found.add(tuple(size for size in sizes if size != 1))
    return found


def _nifti_shape(content: bytes) -> tuple[int, ...]:
    if content[:2] == b"\x1f\x8b":
        content = zlib.decompressobj(wbits=31).decompress(content, 1024)
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", content[:4])
        if size == 348:
            return struct.unpack(f"{order}3h", content[42:48])
        if size == 540:
            return struct.unpack(f"{order}3q", content[24:48])
    return ()


# --- processes ----------------------------------------------------------------------------------


def campaign(
    seed: int, count: int, *, keep: Path, start: int = 0, processes: int = 2
) -> tuple[list[Finding], Counter[str]]:
    """Read `count` mutants in child processes; what was found, and how often what came of them."""
    bounds = np.linspace(start, start + count, processes + 1).astype(int).tolist()
    findings: list[Finding] = []
    outcomes: Counter[str] = Counter()
    running = [_start(seed, *ends, keep) for ends in pairwise(bounds)]
    while running:
        child, stop, place = running.pop(0)
        out, _ = child.communicate()
        for line in out.splitlines():
            entry = json.loads(line)
            if "what" in entry:
                findings.append(Finding(**entry))
            else:
                outcomes.update(entry)
        if child.returncode == 0:
            continue
        if child.returncode > 0:
            raise RuntimeError(f"the child of {place.name} failed; see its traceback")
        index = int.from_bytes(place.read_bytes()[:8], "little")
        died = f"the process died of {signal.Signals(-child.returncode).name}"
        findings.append(_kept(seed, index, died, keep))
        if len(findings) < 50 and index + 1 < stop:
            running.append(_start(seed, index + 1, stop, keep))
    return findings, outcomes


def _start(seed: int, start: int, stop: int, keep: Path) -> tuple[subprocess.Popen[str], int, Path]:
    keep.mkdir(parents=True, exist_ok=True)
    place = keep / f"place-{start}"
    place.write_bytes(bytes(8))
    command = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        __file__,
        "--worker",
        str(place),
        "--keep",
        str(keep),
    ]
    command += ["--seed", str(seed), "--start", str(start), "--count", str(stop - start)]
    path = os.pathsep.join(filter(None, sys.path))
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    return child, stop, place


def _worker(seed: int, start: int, stop: int, place: Path, keep: Path) -> None:
    """Read mutants in this process, which may die of one; tell findings as JSON lines."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, place.open("r+b") as stream:
        folder = Path(name)
        seeds = sound(folder / "sound")
        _warm_up(seeds, folder / "warm")
        _limit_memory()
        shown = mmap.mmap(stream.fileno(), 8)
        for index in range(start, stop):
            shown[:8] = index.to_bytes(8, "little")
            chosen, content = mutant(seed, index, seeds)
            target = _write(folder / "now", chosen, content)
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            try:
                outcomes[f"{chosen.kind} {read_all(chosen, target)}"] += 1
            except Exception:  # whatever it is, it is a finding
                what = traceback.format_exc(limit=-4)
                _tell(asdict(_kept(seed, index, what, keep, seeds)))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    _tell(outcomes)


def _tell(entry: dict[str, Any]) -> None:
    """One JSON line for the process that started this one."""
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


def mutant(seed: int, index: int, seeds: list[Seed]) -> tuple[Seed, bytes]:
    """The mutant with this number."""
    rng = random.Random(f"{seed} {index}")
    chosen = seeds[index % len(seeds)]
    return chosen, mutate(rng, chosen, seeds)


def _write(folder: Path, seed: Seed, content: bytes) -> Path:
    if folder.is_dir():
        shutil.rmtree(folder)
    for name, sound_content in seed.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if name == seed.target else sound_content)
    return folder / seed.target


def _warm_up(seeds: list[Seed], folder: Path) -> None:
    """Read what is sound, which must succeed, and loads all libraries before memory is short."""
    for seed in seeds:
        outcome = read_all(seed, _write(folder, seed, seed.files[seed.target]))
        assert outcome == "read", (seed.target, outcome)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _kept(seed: int, index: int, what: str, keep: Path, seeds: list[Seed] | None = None) -> Finding:
    """A finding with its file."""
    if seeds is None:
        with tempfile.TemporaryDirectory() as name:
            seeds = sound(Path(name))
    chosen, content = mutant(seed, index, seeds)
    folder = keep / f"{seed}-{index}"
    _write(folder, chosen, content)
    return Finding(seed, index, chosen.kind, what, str(folder / chosen.target))


def main() -> int:
    """Findings and a count of outcomes on the console; 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "mass3d-fuzz")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if told.worker:
        _worker(told.seed, told.start, told.start + told.count, told.worker, told.keep)
        return 0
    findings, outcomes = campaign(
        told.seed, told.count, keep=told.keep, start=told.start, processes=told.processes
    )
    for outcome, number in sorted(outcomes.items()):
        sys.stdout.write(f"{number:7} {outcome}\n")
    for finding in findings:
        sys.stdout.write(f"{finding}\n".replace("\\n", "\n"))
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
