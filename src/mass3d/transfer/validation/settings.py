"""Settings of the validation of a run."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mass3d.config import Config


class ValidationConfig(Config):
    """How a run is scored while it goes on; nothing is learned from it."""

    dataset: Path | None = Field(default=None, examples=["Dataset001_Liver"])
    """Labelled scans in the layout of nnU-Net or another: one is the example, others are
    segmented."""
    every: int = Field(default=100, ge=1)
    """Steps between validations; each runs at the next row of metrics.jsonl, and one at the end."""
    queries: int = Field(default=3, ge=1, le=1000)
    """Number of scans segmented in each validation, spread over the dataset."""
    patience: int = Field(default=5, ge=1)
    """Validations without a better Dice after which a message reports it; the run goes on."""
