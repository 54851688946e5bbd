"""The engines that propose masks: which of them a store uses, and one call for all.

Every engine finds layers of its own, whichever others run beside it, so that engines can be added
and replaced one by one. A region that two engines find therefore stays twice.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from mass3d.config import Config
from mass3d.masks import hierarchy
from mass3d.masks.hierarchy import HierarchyConfig
from mass3d.masks.layers import MaskSet, concatenate
from mass3d.volume.volume import Modality

EngineName = Literal["hierarchy"]


class MaskConfig(Config):
    """How masks are proposed: the engines and the settings of each.

    Only the engines that are used enter records and fingerprints, so that a new default of one
    that is not used changes nothing.
    """

    engines: tuple[EngineName, ...] = Field(default=("hierarchy",), min_length=1)
    """Engines, in the order of their layers."""
    hierarchy: HierarchyConfig = HierarchyConfig()
    """Masks from trees of watershed regions, without weights or labels."""

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


def propose(
    image: NDArray[np.float32],
    *,
    spacing_mm: float,
    modality: Modality,
    mean: float,
    std: float,
    config: MaskConfig,
) -> MaskSet:
    """Masks of a prepared scan, the layers of one engine after those of another.

    image (D, H, W), normalised; raw intensities are `image * std + mean`.
    """
    return concatenate(
        [
            hierarchy.propose(
                image,
                spacing_mm=spacing_mm,
                modality=modality,
                mean=mean,
                std=std,
                config=getattr(config, engine),
            )
            for engine in config.engines
        ]
    )
