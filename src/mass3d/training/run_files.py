"""The files of a run, by name; light, as whoever only reads a model imports this alone."""

from __future__ import annotations

from typing import Final

WEIGHTS: Final = "model.safetensors"
RESUME: Final = "resume.safetensors"
METRICS: Final = "metrics.jsonl"
