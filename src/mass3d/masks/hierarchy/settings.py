"""Settings of the `hierarchy` engine; reading them loads none of its libraries."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from mass3d.config import Config

WindowName = Literal["soft", "narrow", "wide", "bone", "full", "root", "low", "high"]
Merging = Literal["edge", "contrast", "balanced", "volume", "area", "dynamics"]

# CT windows in HU.
WINDOWS_HU: Final[dict[WindowName, tuple[float, float]]] = {
    "soft": (-160.0, 240.0),
    "narrow": (-40.0, 160.0),
    "wide": (-991.0, 500.0),
    "bone": (50.0, 500.0),
}
# MR and PET windows, as fractions of the scan's own clipped range.
WINDOWS: Final[dict[WindowName, tuple[float, float]]] = {
    "full": (0.0, 1.0),
    "root": (0.0, 1.0),  # and the square root of it: dark tissues apart, whatever a coil's shading
    "low": (0.0, 0.5),
    "high": (0.4, 1.0),
}


class SelectionConfig(Config):
    """What makes a proposal worth learning from."""

    min_mm3: float = Field(default=30.0, ge=0)
    """Minimum volume of a mask."""
    min_vox: int = Field(default=20, ge=1)
    """Minimum volume of a mask in voxels of the store."""
    max_share: float = Field(default=0.5, gt=0, le=1)
    """Maximum volume of a mask, as a fraction of the scan."""
    min_in_body: float = Field(default=0.5, ge=0, le=1)
    """Minimum fraction of a mask that lies in the body."""
    min_growth: float = Field(default=1.1, ge=1)
    """A mask and the next larger one around it differ in size by at least this factor."""
    max_masks: int = Field(default=2000, ge=1)
    """Maximum number of masks of one layer."""


class TreeConfig(Config):
    """One tree, which becomes one layer."""

    window: WindowName
    """Intensity window; values outside are clipped to its ends. For CT soft, narrow, wide or bone;
    for MR and PET full, root (its square root), low or high."""
    sigma_vox: float = Field(ge=0.3)
    """Standard deviation of the Gaussian gradient from which the regions are formed; below 0.3 it
    would not smooth."""
    merging: Merging
    """Which neighbours merge first: those with a weak border (edge), with a weak border and similar
    intensity (contrast), the same with small regions before large ones (balanced); or the watershed
    hierarchy by volume, area or dynamics."""


def _trees(*rows: tuple[WindowName, float, Merging]) -> tuple[TreeConfig, ...]:
    return tuple(TreeConfig(window=w, sigma_vox=s, merging=m) for w, s, m in rows)


class HierarchyConfig(Config):
    """Settings of the `hierarchy` engine."""

    ct: tuple[TreeConfig, ...] = _trees(
        ("soft", 0.5, "edge"),
        ("soft", 0.5, "contrast"),
        ("soft", 0.5, "volume"),
        ("narrow", 0.5, "balanced"),
        ("narrow", 1.0, "edge"),
        ("bone", 1.0, "balanced"),
    )
    """Trees of a CT."""
    mr: tuple[TreeConfig, ...] = _trees(
        ("full", 1.0, "contrast"),
        ("full", 1.0, "volume"),
        ("full", 0.5, "volume"),
        ("low", 0.5, "contrast"),
        ("high", 0.5, "contrast"),
        ("root", 0.3, "edge"),
    )
    """Trees of an MR."""
    pet: tuple[TreeConfig, ...] = _trees(
        ("root", 0.5, "balanced"),
        ("low", 1.0, "volume"),
        ("high", 1.0, "volume"),
        ("full", 0.5, "contrast"),
    )
    """Trees of a PET."""
    selection: SelectionConfig = SelectionConfig()
    """Which nodes of a tree become masks."""

    @field_validator("ct", "mr", "pet")
    @classmethod
    def _windows_of_the_modality(
        cls, trees: tuple[TreeConfig, ...], info: ValidationInfo
    ) -> tuple[TreeConfig, ...]:
        known = WINDOWS_HU if info.field_name == "ct" else WINDOWS
        strange = [tree.window for tree in trees if tree.window not in known]
        if strange:
            raise ValueError(f"{strange[0]} is not a window of it; use {', '.join(known)}")
        return trees
