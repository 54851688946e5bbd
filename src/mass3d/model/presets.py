"""The sizes of network on offer: one literal table."""

from __future__ import annotations

from typing import Final, Literal

from mass3d.config import Config

PresetName = Literal["tiny"]


class Preset(Config):
    """Sizes of an in-context network."""

    channels: tuple[int, ...]
    """Width of the maps at strides 1, 2, 4, ...; the first is the thin full-resolution skip."""
    blocks: tuple[int, ...]
    """Residual blocks per encoder stage, from half resolution down."""
    dim: int
    """Width of a task token."""
    tokens: int
    """Task tokens per mask."""
    fusions: int
    """Decoder stages, from the deepest, that exchange with the task tokens."""
    heads: int
    """Attention heads."""
    hidden: int
    """Hidden width of the per-mask classifier."""


PRESETS: Final[dict[PresetName, Preset]] = {
    # laptop and CI size: about 3 M parameters
    "tiny": Preset(
        channels=(8, 24, 48, 96, 128),
        blocks=(1, 2, 2, 2),
        dim=96,
        tokens=2,
        fusions=3,
        heads=4,
        hidden=12,
    ),
}
