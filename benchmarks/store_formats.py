"""Formats for a store, side by side: bytes, CPU seconds to write, and to read a sample.

The scan is real where there are real scans (see CONTRIBUTING.md), else a phantom: noise decides
what an image packs to. It is resampled, so that its intensities are no whole numbers, and mirrored
to full size, which keeps its noise and the borders of its masks.

A sample is two crops of 168 voxels per axis and 13 masks in each of them. Formats of rank maps hold
all masks of the scan; dense ones hold the 13, and their bytes are multiplied.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import blosc2
import h5py
import numpy as np
import zarr
from numpy.typing import NDArray
from support.measure import Others, Row, bytes_of, machine, side_by_side, today
from support.release import open_release_masks, write_release_masks
from support.synthetic import Box, Shape, crop, ct, write_store
from zarr.codecs import BloscCodec, BytesCodec

from mass3d.io.datasets.cohort import find_cases
from mass3d.io.read import read_volume
from mass3d.masks.hierarchy.engine import propose
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.layers import MaskSet
from mass3d.store.arrays import BLOCK, CHUNK, CODEC, LEVEL
from mass3d.store.reader import StoredCase
from mass3d.volume.preparation import PreparationConfig, prepare_volume
from mass3d.volume.volume import Volume

MASKS_READ = 13
OURS = "blosc2 lz4hc 5, 64/32 (ours)"


class Figures(NamedTuple):
    """What one format costs."""

    image_mb: float
    masks_mb: float
    write_s: float
    read_s: float


@dataclass(frozen=True)
class Sample:
    """What is written, and what of it is read."""

    image: NDArray[np.float16]  # (D, H, W)
    masks: MaskSet
    rows: Sequence[int]  # K masks that are read
    boxes: Sequence[Box]

    @property
    def dense(self) -> NDArray[np.uint8]:
        """(K, D, H, W) the masks that are read, one by one."""
        return np.stack([self.masks.mask(row) for row in self.rows]).astype(np.uint8)


@dataclass(frozen=True)
class Format:
    """How arrays are written and opened; opened ones are indexed like those of numpy."""

    write: Callable[[Path, NDArray[Any]], None]
    open: Callable[[Path], Any]
    write_masks: Callable[[Path, NDArray[Any]], None] | None = None  # where not like the image
    is_dense: bool = False  # one array of 0 and 1 per mask, not rank maps


def compare(small: bool) -> dict[str, Figures]:
    """The figures of every format."""
    sample = make_sample((40, 48, 48) if small else (200, 256, 256), 24 if small else 168)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        empty = np.zeros(sample.image.shape, np.float32)
        case = write_store(folder / "store", empty, sample.masks).case("case")
        written, reads = {}, {}
        for number, (name, form) in enumerate(formats(sample.image.shape).items()):
            place_of = folder / str(number)
            place_of.mkdir()
            written[name] = _write(form, place_of, sample)
            reads[name] = partial(_read, form, place_of, sample, case)
        wanted = reads[OURS]()
        for name, read in reads.items():
            _require_same(name, wanted, read())
        seconds = side_by_side(reads, repeats=3)
    return {name: Figures(*written[name], seconds[name]) for name in written}


def measure(small: bool) -> Sequence[Row]:
    """Ours beside every other format, as lines of the common table."""
    figures = compare(small)
    ours = figures[OURS]
    rows = []
    for name, other in figures.items():
        if name != OURS:
            mb, other_mb = (f.image_mb + f.masks_mb for f in (ours, other))
            rows += [
                Row("case on disk", mb, "MB", other_mb, name),
                Row("write a case", ours.write_s, "CPU-s", other.write_s, name),
                Row("read a sample", ours.read_s, "CPU-s", other.read_s, name),
            ]
    return rows


def make_sample(shape: Shape, edge: int) -> Sample:
    """A scan of `shape` with its masks, and two crops of `edge` voxels per axis."""
    wanted = float(np.prod(shape)) / 8
    volume = _scan(wanted)
    fine = (float(np.prod(volume.spacing_mm)) * volume.voxels.size / wanted) ** (1 / 3)
    scan = prepare_volume(volume, PreparationConfig(spacing_mm=fine), modality="ct")
    image = scan.image.astype(np.float16)
    masks = propose(
        image.astype(np.float32),
        spacing_mm=fine,
        modality="ct",
        mean=scan.intensity.mean,
        std=scan.intensity.std,
        config=HierarchyConfig(),
    )
    ranks = np.stack([_mirrored(ranks, shape) for ranks in masks.ranks])
    whole = MaskSet(ranks, masks.table).keep(np.arange(len(masks)))  # boxes and sizes have changed
    whole = whole.keep(np.flatnonzero(whole.table.voxels))
    boxes = [crop(shape, edge, where) for where in (0.3, 0.7)]
    rows = np.random.default_rng(5).permutation(len(whole))[:MASKS_READ]
    return Sample(_mirrored(image, shape), whole, [int(row) for row in rows], boxes)


def formats(shape: Shape) -> dict[str, Format]:
    """Every format by its name; ours first."""
    zstd, lz4, blosclz = blosc2.Codec.ZSTD, blosc2.Codec.LZ4, blosc2.Codec.BLOSCLZ
    byte, bit = blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE
    edge = tuple(min(CHUNK, n) for n in shape)
    zarr_blosc = [BytesCodec(), BloscCodec(cname="lz4hc", clevel=LEVEL, shuffle="shuffle")]
    return {
        OURS: _blosc2(CODEC, LEVEL),
        "blosc2 zstd 1": _blosc2(zstd, 1),
        "blosc2 zstd 5": _blosc2(zstd, 5),
        "blosc2 zstd 5, bits shuffled": _blosc2(zstd, 5, image=bit, ranks=bit),
        "blosc2 lz4 9": _blosc2(lz4, 9),
        "blosc2 blosclz 5": _blosc2(blosclz, 5),
        "blosc2 lz4hc 9": _blosc2(CODEC, 9),
        "blosc2 lz4hc 5, not shuffled": _blosc2(CODEC, LEVEL, image=blosc2.Filter.NOFILTER),
        "blosc2 lz4hc 5, masks shuffled": _blosc2(CODEC, LEVEL, ranks=byte),
        "blosc2 lz4hc 5, 32/32": _blosc2(CODEC, LEVEL, chunk=32),
        "blosc2 lz4hc 5, 64/16": _blosc2(CODEC, LEVEL, block=16),
        "blosc2 lz4hc 5, 128/64": _blosc2(CODEC, LEVEL, chunk=128, block=64),
        "npy, memory map": Format(_write_npy, _open_npy),
        "HDF5 lzf, 64": Format(_hdf5(edge, "lzf"), _open_hdf5),
        "HDF5 gzip 4, 64": Format(_hdf5(edge, "gzip"), _open_hdf5),
        "Zarr v3 as it comes": Format(_zarr(), _open_zarr),
        "Zarr v3 blosc lz4hc 5, 64": Format(_zarr(edge, zarr_blosc), _open_zarr),
        "dense, npy": Format(_write_npy, _open_npy, is_dense=True),
        "dense, HDF5 of the release": Format(
            _write_npy, _open_release, write_masks=write_release_masks, is_dense=True
        ),
        "dense, Zarr v3 as it comes": Format(_zarr(), _open_zarr, is_dense=True),
    }


def _write(form: Format, folder: Path, sample: Sample) -> tuple[float, float, float]:
    """Megabytes of the image, of all masks, and the CPU seconds that writing took."""
    masks = sample.dense if form.is_dense else sample.masks.ranks
    begin = time.process_time()
    form.write(folder / "image", sample.image)
    (form.write_masks or form.write)(folder / "masks", masks)
    taken = time.process_time() - begin
    image_mb, masks_mb = (_bytes(folder / part) / 1e6 for part in ("image", "masks"))
    factor = len(sample.masks) / len(sample.rows) if form.is_dense else 1.0
    return image_mb, masks_mb * factor, taken


def _read(form: Format, folder: Path, sample: Sample, case: StoredCase) -> list[NDArray[Any]]:
    """Image and masks of every crop."""
    image, masks = form.open(folder / "image"), form.open(folder / "masks")
    read: list[NDArray[Any]] = []
    if form.is_dense:
        for box in sample.boxes:
            read += [np.asarray(image[box]).astype(np.float32)]
            read += [np.stack([masks[(k, *box)] for k in range(len(sample.rows))]) > 0]
        return read
    # the reader of a store, with arrays of the format in place of its own
    case._image, case._layers = image, masks
    for box in sample.boxes:
        read += [case.read_image(box), case.read_masks(sample.rows, box)]
    return read


def _blosc2(
    codec: Any,
    level: int,
    *,
    image: Any = blosc2.Filter.SHUFFLE,
    ranks: Any = blosc2.Filter.NOFILTER,
    chunk: int = CHUNK,
    block: int = BLOCK,
) -> Format:
    def write(path: Path, array: NDArray[Any]) -> None:
        extra = (1,) * (array.ndim - 3)
        chunks = extra + tuple(min(chunk, n) for n in array.shape[-3:])
        pack = blosc2.CParams(
            codec=codec, clevel=level, filters=[ranks if extra else image], nthreads=1
        )
        blosc2.asarray(
            array,
            urlpath=str(path),
            chunks=chunks,
            blocks=tuple(min(block, n) for n in chunks),
            cparams=pack,
        )

    def load(path: Path) -> Any:
        return blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))

    return Format(write, load)


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:
        np.save(stream, array)


def _open_npy(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def _hdf5(edge: tuple[int, ...], compression: str) -> Callable[[Path, NDArray[Any]], None]:
    def write(path: Path, array: NDArray[Any]) -> None:
        chunks = (1,) * (array.ndim - 3) + edge
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "array", data=array, chunks=chunks, compression=compression, shuffle=True
            )

    return write


def _open_hdf5(path: Path) -> Any:
    return h5py.File(path, "r")["array"]


def _open_release(path: Path) -> Any:
    return open_release_masks(path) if h5py.is_hdf5(path) else _open_npy(path)


def _zarr(
    edge: tuple[int, ...] | None = None, codecs: Any = None
) -> Callable[[Path, NDArray[Any]], None]:
    def write(path: Path, array: NDArray[Any]) -> None:
        options: dict[str, Any] = {}
        if edge is not None:
            options = {"chunks": (1,) * (array.ndim - 3) + edge, "compressors": codecs[1:]}
        made = zarr.create_array(path, shape=array.shape, dtype=array.dtype, **options)
        made[:] = array

    return write


def _open_zarr(path: Path) -> Any:
    return zarr.open_array(path, mode="r")


def _scan(voxels: float) -> Volume:
    named = os.environ.get("MASS3D_TEST_DATA")
    root = Path(__file__).resolve().parents[1]
    real = (Path(named) if named else root.parent / "shared" / "data") / "abdomen_ct" / "ct.nii.gz"
    if not real.exists():
        return ct(voxels / 1e6)
    (case,) = find_cases([real])
    return read_volume(case.scan)


def _mirrored(array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """(d, h, w) repeated by mirroring, and cut, to `shape`."""
    missing = [(0, max(0, n - m)) for n, m in zip(shape, array.shape, strict=True)]
    d, h, w = shape
    return np.ascontiguousarray(np.pad(array, missing, mode="symmetric")[:d, :h, :w])


def _bytes(path: Path) -> int:
    return bytes_of(*([path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())))


def _require_same(name: str, wanted: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> None:
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def main() -> None:
    """Print the table of all formats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, numbers without meaning")
    small = parser.parse_args().small
    clock = Others()
    figures = compare(small)
    command = f"`python benchmarks/{Path(__file__).name}`"
    print(f"{today()}, {machine(clock.share())}, {command}\n")
    print("| format | image MB | masks MB | write CPU-s | read CPU-s |\n|---|--:|--:|--:|--:|")
    for name, found in figures.items():
        print("| " + " | ".join([name, *(f"{figure:.3g}" for figure in found)]) + " |")


if __name__ == "__main__":
    main()
