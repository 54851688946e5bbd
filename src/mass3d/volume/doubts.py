"""What a scan shows that it cannot rightly be: a label map, or a CT in other numbers than HU.

The rules of thumb that `inspect` tells of and that the other verbs act by.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.volume.volume import Modality, Volume

SAMPLED: Final = 2**18  # voxels, evenly spread, that rules and statistics go by
FEW_LEVELS: Final = 16
OFFSET: Final = 1024.0  # of CT numbers that scanners store without a sign
NO_AIR_HU: Final = -200.0  # a CT that stops above has been clipped, or cropped to tissue
SHIFTED: Final = "CT that looks shifted: HU plus 1024, with air at 0"


def sample_steps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Steps along (D, H, W) at which at most `SAMPLED` voxels lie."""
    steps = np.ones(3, int)
    while np.prod(np.ceil(np.array(shape) / steps)) > SAMPLED:
        steps[np.argmax(np.array(shape) / steps)] *= 2
    d, h, w = (int(step) for step in steps)
    return d, h, w


def may_be_label_map(levels: int, *, whole: bool) -> bool:
    """Whether so few different values, all whole numbers, are rather labels than intensities."""
    return levels <= FEW_LEVELS and whole


def may_be_shifted(lowest: float, bright: float) -> bool:
    """Whether a CT of these lowest and 99th percentile values is stored as HU plus 1024."""
    return lowest > -OFFSET / 10 and OFFSET + NO_AIR_HU < bright < 4 * OFFSET


def require_scan(volume: Volume, *, label_maps: bool = False) -> None:
    """Raise `DataError` for a volume that rather is a label map, unless these are wanted."""
    if label_maps:
        return
    values = np.unique(_sample(volume.voxels))
    if may_be_label_map(len(values), whole=bool((values == np.rint(values)).all())):
        raise DataError(
            volume.path or "scan",
            found=f"{len(values)} different values, all whole numbers, as in a label map",
            expected="a scan",
            fix="Take it out, or say that label maps are wanted if it is one after all.",
            setting="label_maps",
        )


def doubts(volume: Volume, modality: Modality, known: frozenset[str] = frozenset()) -> list[str]:
    """What cannot be right about a scan taken for this modality, one sentence each.

    known: the modalities of the scans that a task was made of; empty where nothing tells.
    """
    found = []
    sample = _sample(volume.voxels)
    if modality == "ct" and may_be_shifted(float(sample.min()), float(np.percentile(sample, 99))):
        found.append(SHIFTED)
    if known and modality not in known:
        kinds = " and ".join(sorted(one.upper() for one in known))
        found.append(f"it looks like {modality.upper()}, and the task was made on {kinds}")
    return found


def _sample(image: NDArray[Any]) -> NDArray[Any]:
    d, h, w = sample_steps(image.shape)
    return image[::d, ::h, ::w]
