"""The engines that propose masks: which of them a store uses, and one call for all.

Every engine finds layers of its own, whichever others run beside it, so that engines can be added
and replaced one by one. A region that two engines find therefore stays twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.files import text_hash
from mass3d.masks import external
from mass3d.masks.hierarchy import engine as hierarchy
from mass3d.masks.layers import MaskSet
from mass3d.masks.sam2 import engine as sam2
from mass3d.masks.sam2.weights import weights_id
from mass3d.masks.settings import EngineName, MaskConfig
from mass3d.volume.geometry import Grid
from mass3d.volume.intensity import Intensity
from mass3d.volume.volume import Modality, Volume


@dataclass(frozen=True, eq=False)
class Scan:
    """A prepared scan as engines see it: no label, and nothing of the file it came from."""

    image: NDArray[np.float32]  # (D, H, W), normalised
    grid: Grid
    spacing_mm: float  # edge of the voxels, which are cubes as nearly as they fit the grid
    modality: Modality
    intensity: Intensity  # raw intensities are `image * std + mean`

    def facts(self) -> dict[str, Any]:
        """What an engine is told beside the image, by keyword."""
        return {
            "spacing_mm": self.spacing_mm,
            "modality": self.modality,
            "mean": self.intensity.mean,
            "std": self.intensity.std,
        }


@dataclass(frozen=True, eq=False)
class Found:
    """What one engine has found in a scan."""

    masks: MaskSet
    identity: str  # hash of all that decided it, given the scan
    notes: tuple[str, ...] = ()  # what could not be taken, in words


def identities(config: MaskConfig, *, files: str) -> dict[EngineName, str]:
    """Of every engine a hash of its settings and of what it reads beside the scan.

    files: a hash of the external files of the case; it counts where they are used. Raises
    `ConfigError` or `ModelError` when the weights of an engine are not there.
    """
    found = {}
    for engine in config.engines:
        facts: dict[str, Any] = {"engine": engine, "settings": config.content_of(engine)}
        if engine == "external":
            facts["files"] = files
        elif engine == "sam2":
            facts["weights"] = weights_id(config.sam2)
        found[engine] = text_hash(facts)
    return found


def propose(
    scan: Scan,
    config: MaskConfig,
    *,
    wanted: Mapping[EngineName, str],
    have: Mapping[EngineName, Found],
    files: Callable[[], Iterable[tuple[str, Volume]]],
    work: Path | None = None,
) -> dict[EngineName, Found]:
    """What every engine of the settings finds in a scan, in their order.

    wanted: their `identities`. What an engine has found before is kept where its identity is the
    wanted one. `files` reads the external files of the case, name and content, and is called only
    where they are used. `work` is a folder for an engine that takes long: after a kill the same
    call goes on there. The caller removes it.
    """

    def run(engine: EngineName) -> Found:
        notes: tuple[str, ...] = ()
        if engine == "external":
            masks, notes = external.propose(files(), grid=scan.grid, config=config.external)
        elif engine == "sam2":
            masks = sam2.propose(scan.image, config=config.sam2, work=work, **scan.facts())
        else:
            masks = hierarchy.propose(scan.image, config=config.hierarchy, **scan.facts())
        return Found(masks, wanted[engine], notes)

    kept = {name: old for name, old in have.items() if old.identity == wanted.get(name)}
    return {engine: kept.get(engine) or run(engine) for engine in config.engines}
