"""The engines that propose masks: which of them a store uses, and one call for all.

Every engine finds layers of its own, whichever others run beside it, so that engines can be added
and replaced one by one. A region that two engines find therefore stays twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from mass3d.config import Config
from mass3d.files import text_hash
from mass3d.masks import external
from mass3d.masks.external import ExternalConfig
from mass3d.masks.hierarchy import engine as hierarchy
from mass3d.masks.hierarchy.engine import HierarchyConfig
from mass3d.masks.layers import MaskSet
from mass3d.masks.sam2.settings import Sam2Config
from mass3d.volume.geometry import Grid
from mass3d.volume.intensity import Intensity
from mass3d.volume.volume import Modality, Volume

EngineName = Literal["hierarchy", "external", "sam2"]


class MaskConfig(Config):
    """How masks are proposed: the engines and the settings of each.

    Only the engines that are used enter records and fingerprints, so that a new default of one
    that is not used changes nothing.
    """

    engines: tuple[EngineName, ...] = Field(default=("hierarchy",), min_length=1)
    """Engines, in the order of their layers."""
    hierarchy: HierarchyConfig = HierarchyConfig()
    """Masks from trees of watershed regions, without weights or labels."""
    external: ExternalConfig = ExternalConfig()
    """Masks that another tool or a person has made."""
    sam2: Sam2Config = Sam2Config()
    """Masks that SAM2 finds on slices and follows through the scan; needs the extra sam2."""

    @field_validator("engines")
    @classmethod
    def _each_once(cls, engines: tuple[EngineName, ...]) -> tuple[EngineName, ...]:
        if len(set(engines)) < len(engines):
            raise ValueError("each engine once")
        return engines

    @model_serializer(mode="wrap")
    def _of_the_engines_used(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = write(self)
        return {key: settings[key] for key in ("engines", *self.engines)}

    def content(self) -> dict[str, Any]:
        """The settings that decide what is found, but not where files and weights lie."""
        used: dict[str, Any] = {engine: self.content_of(engine) for engine in self.engines}
        return {"engines": list(self.engines), **used}

    def content_of(self, engine: EngineName) -> dict[str, Any]:
        """The settings of one engine that decide what it finds."""
        if engine == "external":
            return self.external.content()
        return self.sam2.content() if engine == "sam2" else self.hierarchy.plain()


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
            facts["weights"] = _sam2().weights_id(config.sam2)
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
            masks = _sam2().propose(scan.image, config=config.sam2, work=work, **scan.facts())
        else:
            masks = hierarchy.propose(scan.image, config=config.hierarchy, **scan.facts())
        return Found(masks, wanted[engine], notes)

    kept = {name: old for name, old in have.items() if old.identity == wanted.get(name)}
    return {engine: kept.get(engine) or run(engine) for engine in config.engines}


def _sam2() -> Any:
    """The engine that needs torch, which no other call must pay for."""
    from mass3d.masks import sam2  # noqa: PLC0415

    return sam2
