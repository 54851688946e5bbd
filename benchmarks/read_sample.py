"""Make a training sample, reading included: a store against plain files beneath the same code.

`PairMaker` is what training calls: it draws two crops, reads what their warps reach of image and
masks, moves both, and renders 13 masks twice. Here it reads from a store, and from files that need
no thought, in which each mask is a volume of its own. All give the same pair, which is checked.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from support.measure import Row, main
from support.release import open_release_masks, write_release_masks
from support.synthetic import Box, ellipsoids, image, write_store

from mass3d.masks.packing import encode
from mass3d.masks.table import MaskTable
from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker, ViewPair

MASKS_READ = 13
OURS = "ours"
Voxels = NDArray[np.uint8]


def measure(small: bool) -> Sequence[Row]:
    """Pairs of 128 voxels per axis from a volume of 200 x 256 x 256 with 100 masks."""
    shape, edge, count = ((40, 48, 48), 16, 15) if small else ((200, 256, 256), 128, 100)
    encoded, dense = encode(masks := ellipsoids(shape, count)), {}
    for row in np.random.default_rng(5).permutation(len(encoded))[:MASKS_READ]:
        dense[int(row)] = encoded.mask(int(row)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        stored = write_store(folder / "store", image(shape), encoded).case("case")
        cases = {OURS: Timed(stored, rows_of(encoded.table, list(dense)))}
        table = one_layer_each(cases[OURS].table)
        for name, read in plain_files(folder, stored.read_image(), list(dense.values())).items():
            cases[name] = Timed(PlainCase(stored, read), table)
        whole, reading = make_pairs(cases, edge, samples=1 if small else 3)
    what = f"a pair of {edge}^3, {MASKS_READ} of {len(masks)} masks"
    return [
        *against(f"read what {what} needs", reading, "<= 0.05 CPU-s"),
        *against(f"make {what}", whole, "<= 0.5 CPU-s"),
    ]


def against(what: str, seconds: Mapping[str, float], budget: str) -> list[Row]:
    """Ours beside each other way."""
    ours = seconds[OURS]
    return [
        Row(what, ours, "CPU-s", other, name, budget)
        for name, other in seconds.items()
        if name != OURS
    ]


def make_pairs(
    cases: Mapping[str, Timed], edge: int, *, samples: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median CPU seconds of a pair, and of the reading in it, by the way of reading.

    The ways take turns at each sample, after one that is not counted.
    """
    config = ViewConfig(num_masks=MASKS_READ)
    crop = (edge, edge, edge)
    whole: dict[str, list[float]] = {name: [] for name in cases}
    reading: dict[str, list[float]] = {name: [] for name in cases}
    for step in range(samples + 1):
        pairs = []
        for name, case in cases.items():
            make = PairMaker([as_stored(case)], config, crop=crop, batch_size=1, seed=0)
            case.seconds, begin = 0.0, time.process_time()
            pairs.append(make(step, torch.device("cpu")))
            whole[name].append(time.process_time() - begin)
            reading[name].append(case.seconds)
        for pair in pairs[1:]:
            require_same(pairs[0], pair)
    median = statistics.median
    return (
        {name: median(taken[1:]) for name, taken in whole.items()},
        {name: median(taken[1:]) for name, taken in reading.items()},
    )


class Timed:
    """A case that knows of some of its masks only, and times its reading."""

    def __init__(self, case: object, table: MaskTable) -> None:
        self.case, self.table, self.seconds = case, table, 0.0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.case, name)
        return self._timed(value) if name.startswith("read_") else value

    def _timed(self, read: Callable[[Box], object]) -> Callable[[Box], object]:
        def timed(box: Box) -> object:
            begin = time.process_time()
            found = read(box)
            self.seconds += time.process_time() - begin
            return found

        return timed


def as_stored(case: Any) -> StoredCase:
    """The case as the type that is asked for, of which it has all that is used."""
    stored: StoredCase = case
    return stored


@dataclass(frozen=True)
class PlainFiles:
    """How image and masks of a box are read."""

    image: Callable[[Box], NDArray[np.float32]]  # (d, h, w)
    masks: Callable[[Box], Voxels]  # (13, d, h, w)


class PlainCase:
    """A case whose every mask is a layer of its own."""

    def __init__(self, like: StoredCase, files: PlainFiles) -> None:
        self.case_id, self.shape, self.outside = like.case_id, like.shape, like.outside
        self.read_image = self.read_stored_image = files.image
        self.read_layers = files.masks


def rows_of(table: MaskTable, rows: Sequence[int]) -> MaskTable:
    """Some rows of a table, none of which is within another."""
    kept = {name: column[rows] for name, column in table.columns().items()}
    return MaskTable(**(kept | {"parent": np.full(len(rows), -1, np.int32)}))


def one_layer_each(table: MaskTable) -> MaskTable:
    """The same masks, each alone in its layer."""
    columns = {field.name: getattr(table, field.name) for field in fields(table)}
    ones = np.ones(len(table), np.uint32)
    return MaskTable(
        **(columns | {"layer": np.arange(len(table), dtype=np.int16), "first": ones, "last": ones})
    )


def plain_files(
    folder: Path, voxels: NDArray[np.float32], dense: Sequence[Voxels]
) -> dict[str, PlainFiles]:
    """Ways that need no thought, and how each is read; the image is a .npy in all of them.

    They hold only the masks that are read: others would make the files larger, not slower. In the
    file of the release each stands twice, so that those that are read do not follow each other.
    """
    np.save(folder / "image.npy", voxels)
    np.save(folder / "masks.npy", np.stack(dense))
    np.savez_compressed(folder / "masks.npz", *dense)
    write_release_masks(folder / "masks.h5", np.repeat(dense, 2, axis=0))
    for number, mask in enumerate(dense):
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{number}.nii.gz")
    count = len(dense)

    def scan(box: Box) -> NDArray[np.float32]:
        return np.array(np.load(folder / "image.npy", mmap_mode="r")[box])

    def npy(box: Box) -> Voxels:
        return np.array(np.load(folder / "masks.npy", mmap_mode="r")[(slice(None), *box)])

    def npz(box: Box) -> Voxels:
        with np.load(folder / "masks.npz") as archive:
            return np.stack([archive[f"arr_{i}"][box] for i in range(count)])

    def nifti(box: Box) -> Voxels:
        files = (nib.load(folder / f"{i}.nii.gz") for i in range(count))
        return np.stack([np.asarray(file.dataobj)[box] for file in files])

    def hdf5(box: Box) -> Voxels:
        stack = open_release_masks(folder / "masks.h5")
        return np.stack([stack[(2 * i, *box)] for i in range(count)])

    def release(box: Box) -> Voxels:
        stack = open_release_masks(folder / "masks.h5")
        return np.asarray(stack[(list(range(0, 2 * count, 2)), *box)])

    ways: dict[str, Callable[[Box], Voxels]] = {
        "npy": npy,
        "npz, zlib": npz,
        "one .nii.gz per mask": nifti,
        "HDF5 of the release, mask by mask": hdf5,
        "HDF5 as the release reads it": release,
    }
    return {name: PlainFiles(scan, read) for name, read in ways.items()}


def require_same(ours: ViewPair, other: ViewPair) -> None:
    """Both ways must give the same pair."""
    for mine, theirs in ((ours.reference, other.reference), (ours.query, other.query)):
        torch.testing.assert_close(mine.image, theirs.image)
        assert torch.equal(mine.masks, theirs.masks)


if __name__ == "__main__":
    main(__file__, measure)
