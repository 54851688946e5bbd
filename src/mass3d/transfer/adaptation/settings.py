"""The numbers of an adaptation."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mass3d.config import Config, Seed
from mass3d.transfer.tuning.settings import SimulationConfig

Width = Annotated[int, Field(ge=1, le=512)]
Widths = Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)]


class AdaptationConfig(Config):
    """What is learned from unlabelled scans. Nothing depends on a clock."""

    max_scans: PositiveInt = 150
    """Maximum number of unlabelled scans used; of more, the seed draws as many."""
    leave_out: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of the aligned scans that is left out: those least similar to the references."""
    judges: PositiveInt = 8
    """Number of trusted scans whose pseudo-labels are propagated back to the references, to measure
    Dice against the true labels."""
    channels: Widths = (16, 32, 64)
    """Channels of the network at strides 1, 2, 4, ..."""
    window_vox: int = Field(default=40, ge=16, le=256, multiple_of=8)
    """Edge of the network's input windows."""
    steps: PositiveInt = 400
    """Steps on pseudo-labels of trusted scans alone, one window each; then Dice on the references
    decides."""
    further_steps: PositiveInt = 300
    """Further steps, in which the references are shown, too."""
    shown: float = Field(default=0.2, ge=0, le=1)
    """Fraction of the windows in these steps that show a reference with its true label."""
    learning_rate: PositiveFloat = 3e-3
    """Learning rate of AdamW, with warm-up and cosine decay."""
    weight_decay: NonNegativeFloat = 1e-2
    """Weight decay of AdamW."""
    simulation: SimulationConfig = SimulationConfig(anatomy_vox=1.5)
    """Augmentation of the windows: deformation and intensities."""
    seed: Seed = 0


DEFAULT: Final = AdaptationConfig()
