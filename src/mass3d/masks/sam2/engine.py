"""From a prepared scan to masks: seed slices, automatic masks, propagation, packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mass3d.masks.layers import MaskSet
from mass3d.masks.sam2.settings import Sam2Config
from mass3d.volume.volume import Modality

ENGINE = "sam2"


def propose(
    image: NDArray[np.float32],
    *,
    spacing_mm: float,
    modality: Modality,
    mean: float,
    std: float,
    config: Sam2Config,
    work: Path | None = None,
) -> MaskSet:
    """Masks of a prepared scan, best predicted quality as score.

    image (D, H, W), normalised; raw intensities are `image * std + mean`. `work` is a folder for
    what is finished: the same call, after a kill, goes on there and ends with the same bytes. The
    caller removes it. Raises `ConfigError` and `ModelError` as `weights.locate` does.
    """
    raise NotImplementedError
