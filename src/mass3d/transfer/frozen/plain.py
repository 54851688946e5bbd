"""What a scan says without any network: a histogram of its intensities, and its size.

Features of a network are worth something only where they tell more than these.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.box import box_around
from mass3d.volume.preparation import Prepared, prepare_label
from mass3d.volume.volume import Volume

BINS: Final = 32
SIZES: Final = ("body_ml", "height_mm", "depth_mm", "width_mm")  # of the body


def body_of(volume: Volume, scan: Prepared) -> NDArray[np.bool_]:
    """The body on the prepared grid (D, H, W), with the air inside of it: lungs and bowel.

    All of the scan where there is nothing else.
    """
    raw = body_mask(volume.voxels, scan.modality)
    body = fill_axial(prepare_label(volume.with_voxels(raw), scan.grid))
    return body if body.any() else np.ones_like(body)


def histogram(scan: Prepared, body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Shares (BINS,) of the body between what the preparation clips to, in equal steps.

    Of CT that is between fixed HU, of MR and PET between percentiles of the scan itself.
    """
    found = scan.intensity
    shown = (found.undo(scan.image[body]) - found.low) / (found.high - found.low)
    counts, _ = np.histogram(np.clip(shown, 0, 1), bins=BINS, range=(0, 1))
    return np.asarray(counts / counts.sum(), np.float32)


def size(scan: Prepared, body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Millilitres of the body, and the edges of its box in mm along (D, H, W): `SIZES`."""
    box = box_around(body)
    assert box is not None, "a body is never empty"
    edges = [
        (part.stop - part.start) * mm for part, mm in zip(box, scan.grid.spacing_mm, strict=True)
    ]
    return np.array([body.sum() * scan.grid.voxel_ml, *edges], np.float32)
