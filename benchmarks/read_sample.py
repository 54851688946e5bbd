"""Read the crops of one training sample and 13 of its masks: a store against plain files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from support.measure import Row, cpu_seconds, main
from support.synthetic import ellipsoids, image, write_store

from mass3d.masks.layers import encode
from mass3d.store.reader import StoredCase

Box = tuple[slice, slice, slice]
Read = tuple[NDArray[np.float32], NDArray[np.bool_]]
MASKS_READ = 13


def measure(small: bool) -> Sequence[Row]:
    """Two crops of 168 voxels per axis of a volume of 200 x 256 x 256 with 100 masks."""
    shape, edge, count = ((40, 48, 48), 24, 15) if small else ((200, 256, 256), 168, 100)
    voxels, masks = image(shape), ellipsoids(shape, count)
    encoded = encode(masks)
    row_of = {encoded.mask(row).tobytes(): row for row in range(len(encoded))}
    chosen = [masks[i] for i in np.random.default_rng(5).permutation(count)[:MASKS_READ]]
    rows = [row_of[mask.tobytes()] for mask in chosen]
    boxes = [_box(shape, edge, 0.3), _box(shape, edge, 0.7)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = write_store(folder / "store", voxels, encoded)
        case = store.case("case")
        plain = plain_files(folder, case.read_image(), chosen)
        ours = from_store(case, rows, boxes)
        seconds = cpu_seconds(lambda: from_store(case, rows, boxes), repeats=5)
        found = []
        for name, read in plain.items():
            _require_same(ours, read(boxes))
            slow = cpu_seconds(partial(read, boxes), repeats=3 if name == "npy" else 1)
            what = f"read two {edge}^3 crops, {MASKS_READ} of {count} masks"
            found.append(Row(what, seconds, "CPU-s", slow, name, "<= 0.05 CPU-s"))
    return found


def from_store(case: StoredCase, rows: Sequence[int], boxes: Sequence[Box]) -> list[Read]:
    """The image and the rank maps of a box; then every mask by a comparison in its own box."""
    read = []
    for box in boxes:
        ranks, masks = case.read_layers(box), []
        for row in rows:
            mask = np.zeros(ranks.shape[1:], bool)
            inside = _shared(case.table.slices(row), box)
            there = ranks[(int(case.table.layer[row]), *inside)]
            mask[inside] = (there >= case.table.first[row]) & (there <= case.table.last[row])
            masks.append(mask)
        read.append((case.read_image(box), np.stack(masks)))
    return read


def plain_files(
    folder: Path, voxels: NDArray[np.float32], masks: Sequence[NDArray[np.bool_]]
) -> dict[str, Callable[[Sequence[Box]], list[Read]]]:
    """Three ways that need no thought, and how each is read; the image is a .npy in all of them.

    They hold only the masks that are read: others would make the files larger, not slower.
    """
    dense = [mask.astype(np.uint8) for mask in masks]
    np.save(folder / "image.npy", voxels)
    np.save(folder / "masks.npy", np.stack(dense))
    np.savez_compressed(folder / "masks.npz", *dense)
    for number, mask in enumerate(dense):
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{number}.nii.gz")

    def crops(read: Callable[[int, Box], NDArray[np.uint8]], boxes: Sequence[Box]) -> list[Read]:
        image = np.load(folder / "image.npy", mmap_mode="r")
        numbers = range(len(masks))
        return [
            (np.array(image[box]), np.stack([read(i, box) for i in numbers]) > 0) for box in boxes
        ]

    def npy(boxes: Sequence[Box]) -> list[Read]:
        stack = np.load(folder / "masks.npy", mmap_mode="r")
        return crops(lambda i, box: np.array(stack[(i, *box)]), boxes)

    def npz(boxes: Sequence[Box]) -> list[Read]:
        with np.load(folder / "masks.npz") as archive:
            return crops(lambda i, box: archive[f"arr_{i}"][box], boxes)

    def nifti(boxes: Sequence[Box]) -> list[Read]:
        files = [nib.load(folder / f"{i}.nii.gz") for i in range(len(masks))]
        return crops(lambda i, box: np.asarray(files[i].dataobj)[box], boxes)

    return {"npy": npy, "npz, zlib": npz, "one .nii.gz per mask": nifti}


def _box(shape: tuple[int, int, int], edge: int, where: float) -> Box:
    starts = [int((n - edge) * where) for n in shape]
    d, h, w = (slice(start, start + edge) for start in starts)
    return d, h, w


def _shared(mask: Box, crop: Box) -> Box:
    """The part of a crop, in its own indices, that a mask can be in; maybe nothing."""
    d, h, w = (
        slice(max(m.start, c.start) - c.start, max(0, min(m.stop, c.stop) - c.start))
        for m, c in zip(mask, crop, strict=True)
    )
    return d, h, w


def _require_same(ours: Sequence[Read], theirs: Sequence[Read]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


if __name__ == "__main__":
    main(__file__, measure)
