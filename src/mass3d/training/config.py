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
    """Batches per optimiser step, over all processes together (gradient accumulation); `auto`: one
    per process."""
    clip: float = Field(default=1.0, gt=0)
    """Maximum gradient norm; larger gradients are clipped."""
    schedule: ScheduleName = "warmup_cosine"
    """Learning-rate schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Momentum (beta1 of `adamw` and `lamb`), constant over the run; `auto`: 0.95 for `muon`, 0.9
    for the others."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the exponential moving average (EMA) of the weights; a run delivers the EMA
    weights."""
    log_every: int = Field(default=10, ge=1)
    """Steps per row of metrics.jsonl."""
    save_every: int = Field(default=200, ge=1)
    """Steps between saved resume states."""
    save_minutes: float = Field(default=3.0, gt=0)
    """Maximum time between resume states, in minutes."""
    precision: Literal["32-true", "bf16-mixed", "auto"] = "auto"
    """`auto`: bfloat16 on a GPU that supports it, and on a CPU that is faster in it if a trial step
    gives right results; float32 otherwise."""
    sharding: Sharding = "none"
    """`full`: shard weights, their averages, gradients and optimiser states over the processes
    (FSDP2), for networks that do not fit into one GPU."""
    prefetch: int = Field(default=2, ge=0, le=100)
    """Batches prepared ahead of their step by background threads; 0: none."""
    makers: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = "auto"
    """Threads that prepare batches; `auto`: one on a CPU, up to eight for a GPU."""

    def decisive(self, batches_per_step: int = 1) -> dict[str, Any]:
        """The settings that decide what a run delivers; the others may change on the way.

        batches_per_step: what `accumulate` comes to.
        """
        ways = {"save_every", "save_minutes", "prefetch", "makers", "sharding"}
        if self.momentum == "auto":  # as in runs that were begun before it could be set
            ways.add("momentum")
        found = self.model_dump(mode="json", exclude=ways)
        return found | ({"accumulate": batches_per_step} if self.accumulate == "auto" else {})
