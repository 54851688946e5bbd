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
    """Unlabelled scans that are looked at; of more, the first in the order of the seed."""
    leave_out: float = Field(default=0.2, ge=0, lt=1)
    """Share of the aligned scans that is not trusted: those least like the references."""
    judges: PositiveInt = 8
    """Trusted scans whose answers are carried back to the references, whose truth is known."""
    channels: Widths = (16, 32, 64)
    """Widths of the network at strides 1, 2, 4, ..."""
    window_vox: int = Field(default=40, ge=16, le=256, multiple_of=8)
    """Edge of the windows that it sees."""
    steps: PositiveInt = 400
    """Updates on trusted scans alone, of one window each; then the references' truth decides."""
    further_steps: PositiveInt = 300
    """Updates after that, in which the references are shown, too."""
    shown: float = Field(default=0.2, ge=0, le=1)
    """Share of the windows of these that show a reference and its true label."""
    learning_rate: PositiveFloat = 3e-3
    """Of AdamW, warmed up and then along a cosine."""
    weight_decay: NonNegativeFloat = 1e-2
    """Of AdamW."""
    simulation: SimulationConfig = SimulationConfig(anatomy_vox=1.5)
    """How windows are bent and how their intensities are changed."""
    seed: Seed = 0


DEFAULT: Final = AdaptationConfig()
