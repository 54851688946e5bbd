"""The files of the released MASS, as its own code writes them (see h5_utils.py there)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 2**24


def write_release_masks(path: Path, masks: NDArray[np.uint8]) -> None:
    """masks (N, D, H, W) -> HDF5 with lzf, shuffled, in chunks of about 16 MiB."""
    count, depth, h, w = masks.shape
    several = max(1, CHUNK_BYTES // (depth * h * w))
    thick = depth if several > 1 else max(1, CHUNK_BYTES // (h * w))
    chunks = (min(several, count), min(thick, depth), h, w)
    with h5py.File(path, "w") as file:
        file.create_dataset("masks", data=masks, chunks=chunks, compression="lzf", shuffle=True)


def open_release_masks(path: Path) -> Any:
    """The masks (N, D, H, W) to be indexed."""
    return h5py.File(path, "r")["masks"]
