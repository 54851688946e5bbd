"""Bytes of masks on disk: interval code in a store against dense compressed masks."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.measure import Row, bytes_of, main
from support.synthetic import Shape, ellipsoids, nested, write_store

from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import encode
from mass3d.store.schema import LAYERS, TABLE, case_folder

SAMPLED = 60  # masks of the nested layer that are compressed one by one; the others are like them


def measure(small: bool) -> Sequence[Row]:
    """Crossing ellipsoids, and the nested masks of a tree, in a volume of 200 x 256 x 256."""
    shape: Shape = (40, 48, 48) if small else (200, 256, 256)
    size = "x".join(map(str, shape))
    masks = ellipsoids(shape, 10 if small else 100)
    tree = nested(shape, cell_vox=12 if small else 18)
    rows = np.random.default_rng(6).permutation(len(tree))[:SAMPLED]
    sampled = dense_megabytes(tree.mask(int(row)) for row in rows) / len(rows)
    return [
        Row(
            f"{len(masks)} crossing masks of {size}",
            stored_megabytes(encode(masks)),
            "MB",
            dense_megabytes(masks),
            "uint8, zlib 6",
            "<= 0.3 MB",
        ),
        Row(
            f"{len(tree)} nested masks of {size}",
            stored_megabytes(tree),
            "MB",
            sampled * len(tree),
            f"uint8, zlib 6, from {len(rows)} of them",
            "<= 2 MB",
        ),
    ]


def stored_megabytes(masks: MaskSet) -> float:
    """Rank maps and table, as `prepare` writes them."""
    with tempfile.TemporaryDirectory() as place:
        store = write_store(Path(place) / "store", np.zeros(masks.shape, np.float32), masks)
        folder = case_folder(store.path, "case")
        return bytes_of(folder / LAYERS, folder / TABLE) / 1e6


def dense_megabytes(masks: Iterable[NDArray[np.bool_]]) -> float:
    """Every mask as a compressed volume of its own."""
    return sum(len(zlib.compress(mask.astype(np.uint8).tobytes(), 6)) for mask in masks) / 1e6


if __name__ == "__main__":
    main(__file__, measure)
