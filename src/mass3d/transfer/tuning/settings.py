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
    """Deviation of a smooth bending of the scan."""
    anatomy_scale_vox: PositiveFloat = 14.0
    """Distance between the nodes of that bending."""
    degrees: NonNegativeFloat = 8.0
    """Twice the deviation of the turning about each axis."""
    scale: NonNegativeFloat = 0.06
    """Deviation of the stretch along each axis."""
    residual_vox: NonNegativeFloat = 0.45
    """Deviation of the smooth error of the prior, as an alignment leaves it."""
    residual_scale_vox: PositiveFloat = 7.0
    """Distance between the nodes of that error."""
    residual_spread: NonNegativeFloat = 0.5
    """Deviation of the logarithm of the size of all errors of a view."""
    rough_vox: NonNegativeFloat = 0.2
    """Deviation of the rough error of the prior, with nodes at three voxels."""
    gamma: NonNegativeFloat = 0.15
    """Deviation of the logarithm of the exponent of intensities."""
    gain: NonNegativeFloat = 0.08
    """Deviation of the logarithm of the contrast."""
    offset: NonNegativeFloat = 0.1
    """Deviation of the brightness, in standard deviations of the scan."""
    bias: NonNegativeFloat = 0.06
    """Deviation of a smooth shading."""
    noise: NonNegativeFloat = 0.05
    """Two thirds of the largest deviation of white noise."""

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
    """Made-up views to learn from."""
    held_out: Views = 4
    """Further views that decide for which structures the head is used."""
    held_out_error: PositiveFloat = 3.0
    """How many times more wrong the priors of these are: as wrong as real alignments."""
    voxels_per_view: PositiveInt = 8000
    """Voxels of each view that are looked at."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """How often small structures are drawn: 0 as they come, 1 all equally often."""
    steps: PositiveInt = 900
    """Updates of the head."""
    batch: PositiveInt = 4096
    """Voxels of an update."""
    learning_rate: PositiveFloat = 3e-3
    """Of AdamW, warmed up and then along a cosine."""
    weight_decay: NonNegativeFloat = 1e-2
    """Of AdamW."""
    jitter: NonNegativeFloat = 0.1
    """Noise on the features of a voxel, in their standard deviations."""
    hidden: PositiveInt = 64
    """Width of the head."""
    network: bool = False
    """Show the head the feature maps of the pretrained network, too."""
    simulation: SimulationConfig = SimulationConfig(anatomy_vox=0, degrees=0, scale=0)
    """How views are made up. The scan itself is not bent: that would blur it as no scan is."""
    seed: Seed = 0


DEFAULT: Final = TuningConfig()
