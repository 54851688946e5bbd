"""Where the patient is: the voxels that intensity statistics should be about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from mass3d.volume.volume import Modality

CT_AIR_HU = -500.0  # halfway between air and water
LEAST_SHARE = 0.02  # of the scan; a smaller "body" is noise, and the whole scan is taken


def body_mask(image: NDArray[Any], modality: Modality) -> NDArray[np.bool_]:
    """Voxels (D, H, W) brighter than air; the whole scan where there is no air to tell.

    CT: above -500 HU, which leaves the lung out of the statistics on purpose: its share varies
    from scan to scan. MR and PET: above Otsu's threshold of the lower half of the intensities,
    which lies between air and tissue where both are there.
    """
    if modality == "ct":
        body = image > CT_AIR_HU
    else:
        sample = image[::2, ::2, ::2] if min(image.shape) > 3 else image
        lower = sample[sample <= np.percentile(sample, 75)]
        if lower.size == 0 or lower.min() == lower.max():
            return np.ones(image.shape, bool)
        air: float = threshold_otsu(lower)
        body = image > air
    return body if body.mean() >= LEAST_SHARE else np.ones(image.shape, bool)
