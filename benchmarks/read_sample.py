"""Read the crops of one training sample and 13 of its masks: a store against plain files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from support.measure import Row, cost, main, side_by_side
from support.release import open_release_masks, write_release_masks
from support.synthetic import Box, crop, ellipsoids, image, write_store

from mass3d.masks.packing import encode
from mass3d.store.reader import StoredCase

Read = tuple[NDArray[np.float32], NDArray[np.bool_]]
MASKS_READ = 13
RELEASE = "HDF5 as the release reads it"


def measure(small: bool) -> Sequence[Row]:
    """Two crops of 168 voxels per axis of a volume of 200 x 256 x 256 with 100 masks."""
    shape, edge, count = ((40, 48, 48), 24, 15) if small else ((200, 256, 256), 168, 100)
    voxels, masks = image(shape), ellipsoids(shape, count)
    encoded = encode(masks)
    row_of = {encoded.mask(row).tobytes(): row for row in range(len(encoded))}
    chosen = [masks[i] for i in np.random.default_rng(5).permutation(count)[:MASKS_READ]]
    rows = [row_of[mask.tobytes()] for mask in chosen]
    boxes = [crop(shape, edge, 0.3), crop(shape, edge, 0.7)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        case = write_store(folder / "store", voxels, encoded).case("case")
        ours = partial(from_store, case, rows, boxes)
        plain = {
            name: partial(read, boxes)
            for name, read in plain_files(folder, case.read_image(), chosen).items()
        }
        for read in plain.values():
            _require_same(ours(), read())
        seconds = side_by_side({"ours": ours, **plain}, repeats=3)
        seconds[RELEASE] = cost(partial(from_release, folder, MASKS_READ, boxes)).cpu_s
    what = f"read two {edge}^3 crops, {MASKS_READ} of {count} masks"
    mine = seconds.pop("ours")
    return [
        Row(what, mine, "CPU-s", other, name, "<= 0.05 CPU-s") for name, other in seconds.items()
    ]


def from_store(case: StoredCase, rows: Sequence[int], boxes: Sequence[Box]) -> list[Read]:
    """The image of a box, and the masks as they are in it."""
    return [(case.read_image(box), case.read_masks(rows, box)) for box in boxes]


def from_release(folder: Path, count: int, boxes: Sequence[Box]) -> list[Read]:
    """The same as the release reads its file: masks that do not follow each other, at once."""
    image = np.load(folder / "image.npy", mmap_mode="r")
    masks = open_release_masks(folder / "masks.h5")
    return [
        (np.array(image[box]), masks[(list(range(0, 2 * count, 2)), *box)] > 0) for box in boxes
    ]


def plain_files(
    folder: Path, voxels: NDArray[np.float32], masks: Sequence[NDArray[np.bool_]]
) -> dict[str, Callable[[Sequence[Box]], list[Read]]]:
    """Ways that need no thought, and how each is read; the image is a .npy in all of them.

    They hold only the masks that are read: others would make the files larger, not slower. In the
    file of the release each stands twice, so that those that are read do not follow each other.
    """
    dense = [mask.astype(np.uint8) for mask in masks]
    np.save(folder / "image.npy", voxels)
    np.save(folder / "masks.npy", np.stack(dense))
    np.savez_compressed(folder / "masks.npz", *dense)
    write_release_masks(folder / "masks.h5", np.repeat(dense, 2, axis=0))
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

    def hdf5(boxes: Sequence[Box]) -> list[Read]:
        stack = open_release_masks(folder / "masks.h5")
        return crops(lambda i, box: stack[(2 * i, *box)], boxes)

    return {
        "npy": npy,
        "npz, zlib": npz,
        "one .nii.gz per mask": nifti,
        "HDF5 of the release, mask by mask": hdf5,
    }


def _require_same(ours: Sequence[Read], theirs: Sequence[Read]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


if __name__ == "__main__":
    main(__file__, measure)
