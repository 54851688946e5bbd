"""The numbers of tuning."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mass3d.config import Config, Seed

Views = Annotated[int, Field(ge=1, le=10**4)]


class SimulationConfig(Config):
    """How a view of a labelled scan is made up: other anatomy, other scanner, a wrong prior.

    Lengths are in voxels; deviations are those of normal numbers.
    """

    anatomy_vox: NonNegativeFloat = 2.0
    """Standard deviation of a smooth deformation of the scan."""
    anatomy_scale_vox: PositiveFloat = 14.0
    """Distance between the nodes of that deformation."""
    degrees: NonNegativeFloat = 8.0
    """Twice the standard deviation of the rotation about each axis."""
    scale: NonNegativeFloat = 0.06
    """Standard deviation of the scaling along each axis."""
    residual_vox: NonNegativeFloat = 0.45
    """Standard deviation of the smooth error of the prior, as an alignment leaves it."""
    residual_scale_vox: PositiveFloat = 7.0
    """Distance between the nodes of that error."""
    residual_spread: NonNegativeFloat = 0.5
    """Standard deviation of the log of the size of all errors of a view."""
    rough_vox: NonNegativeFloat = 0.2
    """Standard deviation of the rough error of the prior, with nodes every three voxels."""
    gamma: NonNegativeFloat = 0.15
    """Standard deviation of log gamma of the intensities."""
    gain: NonNegativeFloat = 0.08
    """Standard deviation of the log of the contrast."""
    offset: NonNegativeFloat = 0.1
    """Standard deviation of the brightness offset, in standard deviations of the scan."""
    bias: NonNegativeFloat = 0.06
    """Standard deviation of a smooth bias field."""
    noise: NonNegativeFloat = 0.05
    """Two thirds of the maximum standard deviation of white noise."""

    def worse(self, times: float) -> SimulationConfig:
        """The same with priors that are all equally wrong, `times` as much."""
        return self.model_copy(
            update={
                "residual_vox": times * self.residual_vox,
                "rough_vox": times * self.rough_vox,
                "residual_spread": 0.0,
            }
        )


class TuningConfig(Config):
    """How a head is tuned on the views of one reference. Nothing depends on a clock."""

    views: Views = 24
    """Simulated views to train on."""
    held_out: Views = 4
    """Further simulated views that decide for which structures the head is used."""
    held_out_error: PositiveFloat = 3.0
    """Factor on the error of the priors in these views, so that it is as large as that of real
    alignments."""
    voxels_per_view: PositiveInt = 8000
    """Voxels sampled from each view."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """Sampling of structures: 0 in proportion to their voxels, 1 all equally often."""
    steps: PositiveInt = 900
    """Optimiser steps of the head."""
    batch: PositiveInt = 4096
    """Voxels per step."""
    learning_rate: PositiveFloat = 3e-3
    """Learning rate of AdamW, with warm-up and cosine decay."""
    weight_decay: NonNegativeFloat = 1e-2
    """Weight decay of AdamW."""
    jitter: NonNegativeFloat = 0.1
    """Noise added to the features of a voxel, in their standard deviations."""
    hidden: PositiveInt = 64
    """Hidden width of the head."""
    network: bool = False
    """Give the head the feature maps of the pretrained network as further inputs."""
    simulation: SimulationConfig = SimulationConfig(anatomy_vox=0, degrees=0, scale=0)
    """How views are simulated. The scan itself is not deformed, because interpolation would blur
    it."""
    seed: Seed = 0


DEFAULT: Final = TuningConfig()
