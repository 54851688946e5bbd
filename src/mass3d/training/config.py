"""Settings of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mass3d.config import merged
from mass3d.model.presets import Recipe
from mass3d.training.schedule import ScheduleName

Precision = Literal["32-true", "bf16-mixed"]
Sharding = Literal["none", "full"]

# What an optimiser learns well with; the numbers of one are far off for another.
RATES: Final[Mapping[str, Mapping[str, float]]] = {
    "adamw": {"lr": 2e-3, "weight_decay": 1e-2},
    "lamb": {"lr": 2e-3, "weight_decay": 1e-5},
    "muon": {"lr": 1e-2, "weight_decay": 1e-2},
}


def usual_fit(recipe: Recipe, given: Any) -> dict[str, Any]:
    """The recipe as settings; where another optimiser is given, with the rates that suit it."""
    usual = recipe.model_dump()
    wanted = merged(usual, given)
    name = wanted.get("optimizer") if isinstance(wanted, dict) else None
    if name == usual["optimizer"] or not (isinstance(name, str) and name in RATES):
        return usual
    return usual | dict(RATES[name])


class FitConfig(Recipe):
    """How a network is trained; a preset brings its own recipe for the first of these."""

    accumulate: Annotated[int, Field(ge=1, le=10**4)] | Literal["auto"] = "auto"
    """Batches per step, of all processes together, whose gradients are averaged; `auto`: one of
    each process."""
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    schedule: ScheduleName = "warmup_cosine"
    """How the learning rate goes over the run."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """How much of the mean of gradients a step keeps, the same all through the run; `auto`: 0.95
    for `muon`, 0.9 for `adamw` and `lamb`."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the average of the weights, which is what a run delivers."""
    log_every: int = Field(default=10, ge=1)
    """Steps per row of metrics.jsonl."""
    save_every: int = Field(default=200, ge=1)
    """Steps between resume states."""
    save_minutes: float = Field(default=3.0, gt=0)
    """Longest time without a resume state, in minutes."""
    precision: Literal["32-true", "bf16-mixed", "auto"] = "auto"
    """`auto`: 16 bits (bfloat16) where the device is faster in them and a first try comes out
    right."""
    sharding: Sharding = "none"
    """`full`: each of several processes keeps its share of the weights, of their averages and
    gradients, and of what the optimiser remembers, for networks that do not fit into one GPU."""
    prefetch: int = Field(default=2, ge=0, le=100)
    """Batches made ahead of their step by threads of their own; 0 for none."""
    makers: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = "auto"
    """Threads that make batches; `auto`: one on a CPU, and up to eight for a GPU."""

    def decisive(self, batches_per_step: int = 1) -> dict[str, Any]:
        """The settings that decide what a run delivers; the others may change on the way.

        batches_per_step: what `accumulate` comes to.
        """
        ways = {"save_every", "save_minutes", "prefetch", "makers", "sharding"}
        if self.momentum == "auto":  # as in runs that were begun before it could be set
            ways.add("momentum")
        found = self.model_dump(mode="json", exclude=ways)
        return found | ({"accumulate": batches_per_step} if self.accumulate == "auto" else {})
