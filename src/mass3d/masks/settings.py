"""Which engines propose the masks of a store, and the settings of each; no engine is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from mass3d.config import Config
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.sam2.settings import Sam2Config

EngineName = Literal["hierarchy", "external", "sam2"]


class ExternalConfig(Config):
    """Settings of the `external` engine."""

    folders: tuple[Path, ...] = ()
    """Folders of masks: label maps named <case>.nii.gz, or folders <case> of maps and masks."""
    split: bool = False
    """Use the connected components of a mask as separate masks, instead of the whole."""
    min_mm3: float = Field(default=30.0, ge=0)
    """Minimum volume of a mask."""
    min_vox: int = Field(default=20, ge=1)
    """Minimum volume of a mask in voxels of the store."""
    max_share: float = Field(default=0.9, gt=0, le=1)
    """Maximum volume of a mask, as a fraction of the scan."""

    def content(self) -> dict[str, Any]:
        """The settings that decide what is found, for fingerprints; add the files."""
        return self.model_dump(mode="json", exclude={"folders"})


class MaskConfig(Config):
    """How masks are proposed: the engines and the settings of each.

    Only the engines that are used enter records and fingerprints, so that a new default of one
    that is not used changes nothing.
    """

    engines: tuple[EngineName, ...] = Field(default=("hierarchy",), min_length=1)
    """Mask engines, in the order of their layers."""
    hierarchy: HierarchyConfig = HierarchyConfig()
    """Masks from trees of watershed regions; needs neither weights nor labels."""
    external: ExternalConfig = ExternalConfig()
    """Masks made by another tool or by hand."""
    sam2: Sam2Config = Sam2Config()
    """Masks that SAM2 finds on slices and propagates through the scan; needs the extra sam2."""

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
