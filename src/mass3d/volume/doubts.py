"""What a scan shows that it cannot rightly be: a label map, or a CT in other numbers than HU.

The rules of thumb that `inspect` tells of and that the other verbs act by.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.volume.sample import sample
from mass3d.volume.volume import Modality, Volume

FEW_LEVELS: Final = 16
OFFSET: Final = 1024.0  # of CT numbers that scanners store without a sign
NO_AIR_HU: Final = -200.0  # a CT that stops above has been clipped, or cropped to tissue
SHIFTED: Final = "CT that looks shifted: HU plus 1024, with air at 0"
LIKE_SHIFTED: Final = "MR with values like those of a CT shifted to HU plus 1024"
TISSUE: Final = (OFFSET - 124, OFFSET + 126)  # soft tissue in a CT that is shifted
# Of the values above air and lung: at least 0.64 in 65 CT of three datasets, at most 0.44 in 144 MR
MIN_TISSUE: Final = 0.55


def may_be_label_map(levels: int, *, whole: bool) -> bool:
    """Whether so few different values, all whole numbers, are rather labels than intensities."""
    return levels <= FEW_LEVELS and whole


def may_be_shifted(lowest: float, bright: float) -> bool:
    """Whether a CT of these lowest and 99th percentile values is stored as HU plus 1024."""
    return lowest > -OFFSET / 10 and OFFSET + NO_AIR_HU < bright < 4 * OFFSET


def tissue_share(voxels: NDArray[np.float32]) -> float:
    """Share of the values above air and lung that are soft tissue if this is a shifted CT."""
    body = voxels[voxels > OFFSET / 4]
    low, high = TISSUE
    return float(((body > low) & (body < high)).mean()) if body.size else 0.0


def may_be_shifted_ct(lowest: float, tissue: float) -> bool:
    """Whether what is taken for MR, by its values, is rather a CT stored as HU plus 1024."""
    return abs(lowest) < OFFSET / 10 and tissue > MIN_TISSUE


def require_scan(volume: Volume, *, label_maps: bool = False) -> None:
    """Raise `DataError` for a volume that rather is a label map, unless these are wanted."""
    if label_maps:
        return
    values = np.unique(sample(volume.voxels))
    if may_be_label_map(len(values), whole=bool((values == np.rint(values)).all())):
        raise DataError(
            volume.path or "scan",
            found=f"{len(values)} different values, all whole numbers, as in a label map",
            expected="a scan",
            fix="Take it out, or say that label maps are wanted if it is one after all.",
            setting="label_maps",
        )


def doubts(volume: Volume, modality: Modality) -> list[str]:
    """What cannot be right about a scan taken for this modality, one sentence each."""
    found = []
    voxels = sample(volume.voxels)
    if modality == "ct" and may_be_shifted(float(voxels.min()), float(np.percentile(voxels, 99))):
        found.append(SHIFTED)
    if modality == "mr" and may_be_shifted_ct(float(voxels.min()), tissue_share(voxels)):
        found.append(LIKE_SHIFTED)
    return found
