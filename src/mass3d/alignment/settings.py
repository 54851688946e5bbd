"""The numbers of the alignment; one setting serves all kinds of scans."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from mass3d.config import Config

Stage = tuple[int, int]


class AlignmentConfig(Config):
    """Every number of the method, in voxels unless it says otherwise."""

    margin_vox: int = Field(default=4, ge=0)
    """Air that is kept around the body."""
    intensity_weight: float = Field(default=0.5, ge=0)
    """Of the intensity itself, beside self-similarity with weight 1."""
    local_weight: float = Field(default=0.5, ge=0)
    """Of the intensity relative to its surroundings (differences of it are local correlation)."""
    noise_floor: float = Field(default=0.05, gt=0)
    """Least noise of self-similarity, of its mean: flatter tissue has no features."""
    scales: tuple[float, ...] = Field(default=(0.87, 1.0, 1.15), min_length=1)
    """Sizes of the reference that are tried with all shifts."""
    affine_steps: Stage = (12, 4)
    """Updates of the affine map at the coarsest stride and at each finer one."""
    affine_stride: int = Field(default=2, ge=2)
    """The finest stride at which the affine map is refined."""
    spread: float = Field(default=1.0, gt=0)
    """Squared distance of features at which a cell counts half."""
    chance: float = Field(default=0.6, ge=0, le=1)
    """Loss of a cell that matches by chance; worse ones count against an affine map."""
    rigidity: float = Field(default=0.1, ge=0)
    """Pull of the affine map's linear part towards the identity."""
    coarse_cells: int = Field(default=16_000, gt=0)
    """Levels are added until one has no more cells than this."""
    radius_cells: int = Field(default=3, ge=1)
    """Reach of the discrete search, in cells of its level."""
    coupling: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Weights of smoothness in the rounds of the discrete search."""
    stages: tuple[Stage, ...] = ((4, 8), (2, 8), (1, 3))
    """Stride and updates of each stage of the deformation; the first one searches before."""
    damping: float = Field(default=0.05, ge=0)
    """Of the updates of the deformation, relative to the mean gradient."""


DEFAULT: Final = AlignmentConfig()
