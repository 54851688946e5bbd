"""The numbers of a reference that lies in a task file."""

from __future__ import annotations

from typing import Final

from pydantic import Field, PositiveInt

from mass3d.alignment.settings import AlignmentConfig
from mass3d.config import Config

MAX_STRUCTURES: Final = 255  # of a task, as the labels of its references are bytes
# Self-similarity only, and nothing finer than two voxels: no intensity leaves the scan.
PRIVATE: Final = AlignmentConfig(
    intensity_weight=0, local_weight=0, affine_stride=4, stages=((4, 8), (2, 8))
)


class OneShotConfig(Config):
    """How a labelled scan is kept and used."""

    alignment: AlignmentConfig = PRIVATE
    """Features and search. Without weights for intensities and a stage of stride 1, what is kept
    shows none."""
    margin_vox: PositiveInt = 10
    """Surroundings of the structures that are compared in detail."""
    min_similarity: float = Field(default=0.15, ge=-1, le=1)
    """Of an alignment, below which it is taken for a failure."""


DEFAULT: Final = OneShotConfig()
