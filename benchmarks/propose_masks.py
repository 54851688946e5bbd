"""Propose masks by the hierarchy engine: time and memory over the size of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from support.measure import Row, cost, main
from support.synthetic import ct

from mass3d.masks.hierarchy.engine import propose
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.layers import MaskSet
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

CONFIG = HierarchyConfig()


def propose_into(found: list[MaskSet], volume: Volume) -> None:
    """Add the masks of a volume to a list."""
    found.append(masks_of(volume))


def measure(small: bool) -> Sequence[Row]:
    """All trees of a CT, for volumes of growing size."""
    sizes = (0.05, 0.1) if small else (1.0, 4.0, 16.0)
    rows, seconds = [], []
    for size in sizes:
        volume = ct(size)
        found: list[MaskSet] = []
        taken = cost(partial(propose_into, found, volume))
        seconds.append(taken.cpu_s)
        what = f"{len(found[0])} masks in {len(found[0].ranks)} layers, {size:g} Mvoxel"
        per = taken.cpu_s / size / len(CONFIG.ct)
        memory = 1024 * taken.gib / size
        rows += [
            Row(what, per, "CPU-s per Mvoxel and layer", budget="<= 1"),
            Row(f"memory, {size:g} Mvoxel", memory, "MiB per Mvoxel", budget="<= 100"),
        ]
    growth = float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0]))
    return [*rows, Row("exponent of the volume in the time", growth, "", budget="linear: 1")]


def masks_of(volume: Volume) -> MaskSet:
    """As `prepare` proposes them."""
    preparation = PreparationConfig(spacing_mm=volume.spacing_mm[0])
    mean, std = preparation.ct_mean_std_hu
    return propose(
        (np.clip(volume.voxels, *preparation.ct_clip_hu) - np.float32(mean)) / np.float32(std),
        spacing_mm=preparation.spacing_mm,
        modality="ct",
        mean=mean,
        std=std,
        config=CONFIG,
    )


if __name__ == "__main__":
    main(__file__, measure)
