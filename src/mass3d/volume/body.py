"""Where the patient is: the voxels that intensity statistics should be about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.volume.box import Box, box_around, whole_box
from mass3d.volume.volume import Modality

CT_AIR_HU = -500.0  # halfway between air and water
AIR_OF_TISSUE = 0.3  # MR, PET: a threshold above this part of bright tissue separates no air
BOX_MARGIN_MM = 20.0
MIN_SHARE = 0.02  # of the scan; a smaller "body" is noise, and the whole scan is taken


def body_mask(image: NDArray[Any], modality: Modality) -> NDArray[np.bool_]:
    """Voxels (D, H, W) of raw intensity brighter than air; all where there is no air to tell.

    CT: above -500 HU, lungs are left out. MR and PET: above Otsu's threshold of the lower three
    quarters of the intensities, which lies between air and tissue where both are there; a scan
    cropped to tissue has no such gap and is all body.
    """
    from skimage.filters import threshold_otsu  # noqa: PLC0415 - slow to load

    if modality == "ct":
        body = image > CT_AIR_HU
    else:
        sample = image[::2, ::2, ::2] if min(image.shape) > 3 else image
        darkest = float(sample.min())
        dark, bright = (float(edge) for edge in np.percentile(sample, (75, 95)))
        lower = sample[sample <= dark]
        if lower.min() == lower.max():
            return np.ones(image.shape, bool)
        # in float64, where 256 bins fit between any two float32
        air: float = threshold_otsu(lower.astype(np.float64))
        if air - darkest > AIR_OF_TISSUE * (bright - darkest):
            return np.ones(image.shape, bool)
        body = image > air
    return body if body.mean() >= MIN_SHARE else np.ones(image.shape, bool)


def box_of_body(image: NDArray[Any], spacing_mm: float) -> Box:
    """Of a CT (D, H, W) in HU: the box around its largest piece that is no air, and a margin.

    All of the scan where there is no such voxel. As the release of MASS cuts a CT.
    """
    pieces, _ = ndimage.label(image >= CT_AIR_HU)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    margin = int(np.ceil(BOX_MARGIN_MM / spacing_mm))
    found = box_around(pieces == sizes.argmax(), margin) if sizes.any() else None
    return found or whole_box(image.shape)


def fill_axial(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of every axial slice of (D, H, W): lungs and bowel gas join the body."""
    return np.stack([ndimage.binary_fill_holes(section) for section in mask])
