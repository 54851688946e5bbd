"""A hostile file costs itself, never the scans beside it, while they are looked for and later.

Every folder here holds three sound scans and one trap.
"""

from __future__ import annotations

import gzip
import io
import os
import signal
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

import dicoms
import scans
from mass3d.apps import inspect, prepare
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.read import read_label, read_volume

SECONDS = 40
SOUND = ("a", "b", "c")
DEEP = b"[" * 200_000 + b"]" * 200_000


class Hung(BaseException):
    """Nothing that looks after the faults of a case takes this for one."""


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """Waiting for a pipe or a device is interrupted, and fails."""

    def stop(number: int, frame: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def sound(folder: Path) -> None:
    """Scans of (30, 28, 26) voxels of 2 mm, with a bright ball."""
    folder.mkdir(parents=True, exist_ok=True)
    i, j, k = np.ogrid[:30, :28, :26]
    for number, name in enumerate(SOUND):
        noise = np.random.default_rng(number).normal(0, 5, (30, 28, 26))
        ball = (i - 15) ** 2 + (j - 14) ** 2 + (k - 12 - number) ** 2 < 64
        image = nib.Nifti1Image((100 + 300 * ball + noise).astype(np.int16), np.diag([2, 2, 2, 1]))
        image.header.set_xyzt_units("mm")
        image.to_filename(folder / f"{name}.nii.gz")


def promising(voxels: tuple[int, int, int], edge_mm: float = 40.0) -> bytes:
    """A NIfTI header that promises this many voxels, and 10 kB of noise."""

    def large(header: Any) -> None:
        header["dim"][1:4] = voxels
        header["pixdim"][1:4] = edge_mm
        header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = edge_mm

    start = scans.nifti_bytes(scans.voxels(), np.eye(4), header=large)
    return start + np.random.default_rng(0).bytes(10_000)


def wrong_checksum(folder: Path) -> None:
    """An archive of a DICOM series with one wrong checksum."""
    dicoms.series(folder / ".made", [0.0, 2.0, 4.0])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for one in sorted((folder / ".made").iterdir()):
            archive.write(one, one.name)
    content = bytearray(stream.getvalue())
    content[len(content) // 2] ^= 0xFF
    (folder / "t.zip").write_bytes(content)


def nrrd(**fields: str) -> bytes:
    lines = {"type": "short", "dimension": "3", "space": "left-posterior-superior"}
    lines |= {"sizes": "5 6 7", "space directions": "(1,0,0) (0,1,0) (0,0,1)", "endian": "little"}
    lines |= {"encoding": "raw"} | {name.replace("_", " "): text for name, text in fields.items()}
    return "\n".join(["NRRD0004", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode()


def link_in_a_circle(folder: Path) -> None:
    (folder / "t.nii.gz").symlink_to("u.nii.gz")
    (folder / "u.nii.gz").symlink_to("t.nii.gz")


def folder_in_a_circle(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to("..", target_is_directory=True)
    (folder / "round").symlink_to("round", target_is_directory=True)


def bound_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(folder)  # such names may have 108 bytes only
        try:
            made.bind("t.nii")
        finally:
            os.chdir(here)


Trap = Callable[[Path], object]


def file(name: str, content: bytes) -> Trap:
    return lambda folder: (folder / name).write_bytes(content)


def pipe(name: str) -> Trap:
    return lambda folder: os.mkfifo(folder / name)


def device(name: str, of: str = "/dev/zero") -> Trap:
    return lambda folder: (folder / name).symlink_to(of)


# name of the trap -> (how it is laid, faults that it may cost)
TRAPS: dict[str, tuple[Trap, int]] = {
    "gzip promises": (file("t.nii.gz", gzip.compress(promising((10_000,) * 3))), 1),
    "gzip promises more than deflate can make, by little": (
        file("t.nii.gz", gzip.compress(promising((300, 200, 80)))),
        1,
    ),
    "raw promises": (file("t.nii", promising((10_000,) * 3)), 1),
    "nrrd promises": (file("t.nrrd", nrrd(sizes="99999 99999 99999") + b"12"), 1),
    "packed nrrd promises": (
        file("t.nrrd", nrrd(sizes="300 200 80", encoding="gzip") + gzip.compress(bytes(20_000))),
        1,
    ),
    "pattern of files": (file("t.nhdr", nrrd(data_file="x%d.raw 1 100000000000 1")), 1),
    "name of data": (file("t.nhdr", nrrd(data_file="x" * 300 + ".raw")), 1),
    "name of data with a zero": (file("t.nhdr", nrrd(data_file="x\0.raw")), 1),
    "wrong checksum": (wrong_checksum, 1),
    "no archive": (file("t.zip", b"PK\3\4" + bytes(200)), 1),
    "longest name": (file("x" * 248 + ".nii.gz", b"no scan"), 1),
    "longest name of no image": (file("x" * 255, b"no scan"), 0),
    "deep table": (file("dataset.json", DEEP), 0),
    "table that is none": (file("dataset.json", b"\xff\xfe\x00"), 0),
    "deep record": (file("record.json", DEEP), 0),
    "links in a circle": (link_in_a_circle, 2),
    "folders in a circle": (folder_in_a_circle, 0),
    "pipe": (pipe("t.nii.gz"), 1),
    "pipe of no format": (pipe("t"), 0),
    "pipe as archive": (pipe("t.zip"), 1),
    "pipe as table": (pipe("dataset.json"), 0),
    "pipe as record": (pipe("record.json"), 0),
    "pipe of voxels": (
        lambda at: (file("t.nhdr", nrrd(data_file="v.raw"))(at), pipe("v.raw")(at)),
        2,
    ),
    "device": (device("t.nii"), 1),
    "device as table": (device("dataset.json"), 0),
    "device as record": (device("record.json"), 0),
    "device of voxels": (
        lambda at: (file("t.nhdr", nrrd(data_file="v.raw"))(at), device("v.raw")(at)),
        2,
    ),
    "socket": (bound_socket, 1),
    "name beyond UTF-8": (
        lambda at: Path(os.fsdecode(os.fsencode(at) + b"/t\xff\xfe.nii.gz")).write_bytes(b"none"),
        1,
    ),
    "name with markup": (file("[red]t[bold]\x1b[2J.nii.gz", b"none"), 1),
    "name with lines": (file("t\nu\r.nii.gz", b"none"), 1),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_costs_itself_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lay, most = TRAPS[name]
    folder = tmp_path / "in" / "imagesTr"
    sound(folder)
    lay(folder)
    cases = {case.case_id for case in find_cohort([tmp_path / "in"]).cases}
    assert cases >= set(SOUND)
    report = inspect.run(
        inspect.InspectConfig(inputs=(tmp_path / "in",), output=tmp_path / "out", workers=1)
    )
    of_sound = [fault for fault in report.faults if fault.where in SOUND]
    assert of_sound == []
    assert len(report.faults) <= max(most, 1)
    assert len({fault.where for fault in report.faults}) >= min(most, 1)
    assert not any(fault.message.startswith("unexpected") for fault in report.faults)
    assert report.spacing_mm == 2.0
    report.show(Console())
    assert "\x1b[2J" not in capsys.readouterr().out
    assert (tmp_path / "out" / "inspect.json").read_bytes().decode("utf-8")


def test_all_traps_at_once_leave_the_store_of_the_sound_scans(tmp_path: Path) -> None:
    sound(tmp_path / "sound")
    sound(tmp_path / "in")
    for number, (lay, _) in enumerate(TRAPS.values()):
        (tmp_path / "in" / f"trap{number}").mkdir()
        lay(tmp_path / "in" / f"trap{number}")
    masks = {"engines": ["hierarchy"]}
    stores = []
    for place in ("sound", "in"):
        config = {"inputs": [tmp_path / place], "output": tmp_path / f"{place}-store", "workers": 1}
        stores.append(prepare.run(prepare.PrepareConfig.model_validate(config | {"masks": masks})))
    plain, attacked = stores
    assert plain.ok
    assert not attacked.ok
    assert attacked.spacing_mm == plain.spacing_mm == 2.0
    assert set(attacked.prepared) == set(plain.prepared) == set(SOUND)
    assert not any(fault.message.startswith("unexpected") for fault in attacked.faults)
    for case in SOUND:
        for part in (tmp_path / "sound-store" / "cases" / case).iterdir():
            other = tmp_path / "in-store" / "cases" / case / part.name
            assert other.read_bytes() == part.read_bytes()
    again = prepare.run(
        prepare.PrepareConfig.model_validate(
            {"inputs": [tmp_path / "in"], "output": tmp_path / "in-store", "workers": 1}
            | {"masks": masks}
        )
    )
    assert set(again.kept) == set(SOUND)


@pytest.mark.parametrize("read", [read_volume, read_label])
@pytest.mark.parametrize(
    "words",
    [
        "/etc/passwd",
        "../secret.raw",
        "../../secret.raw",
        "/proc/self/environ",
        "in/../../secret.raw",
    ],
)
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_no_file_outside_the_folder_of_a_header_becomes_voxels(
    tmp_path: Path, kind: str, words: str, read: Callable[[Path], Any]
) -> None:
    folder = tmp_path / "one" / "two"
    (folder / "in").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "one", tmp_path / "one" / "two"):
        (place / "secret.raw").write_bytes(b"secret" * 100)
    header = folder / f"t.{kind}"
    if kind == "nhdr":
        header.write_bytes(nrrd(data_file=words))
    else:
        header.write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\n"
            f"DimSize = 5 6 7\nElementType = MET_SHORT\nElementDataFile = {words}\n"
        )
    with pytest.raises(DataError, match="outside its folder"):
        read(header)
