"""One of several processes: what it keeps after a step, as a line of JSON. Started by torchrun."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from mass3d.execution.processes import started_processes
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.training.begin import begin
from mass3d.training.config import FitConfig
from mass3d.training.fabric import make_fabric
from mass3d.training.job import FitState, Job
from mass3d.training.sharding import local
from mass3d.training.step import StepContext, StepOutcome
from mass3d.training.update import update


def step(model: nn.Module, batch: tuple[torch.Tensor, ...], context: StepContext) -> StepOutcome:
    """Any loss: what is kept does not depend on it. All weights have a part, as processes want."""
    del context
    found = model(*batch)
    parts = [found] if isinstance(found, torch.Tensor) else list(found)
    numbers = torch.stack([p.sum() for p in model.parameters() if p.ndim == 0] or [torch.zeros(())])
    loss = torch.stack([one.float().square().mean() for one in parts]).sum()
    return StepOutcome(loss + 0 * numbers.sum(), {}, ())


def kept_bytes(state: FitState) -> int:
    """Weights, averages, gradients (as large as the weights) and what the optimiser remembers."""
    weights = [local(p) for p in state.model.parameters()]
    averages = [local(p) for p in state.ema.model.parameters()]
    remembered = [
        local(tensor)
        for entries in state.optimizer.state.values()
        for tensor in entries.values()
        if isinstance(tensor, torch.Tensor)
    ]
    return sum(one.nbytes for one in (*weights, *weights, *averages, *remembered))


def main(preset: str, edge: int, config: FitConfig) -> None:
    """Two steps on made-up views of some voxels along each axis."""
    torch.set_num_threads(1)
    processes, chosen = started_processes(), PRESETS[preset]  # type: ignore[index]
    net = build_network(chosen, seed=0)
    image = torch.zeros(2, 1, edge, edge, edge)
    batch = (image, image[:, :1], image) if chosen.kind == "iris" else (image,)
    with tempfile.TemporaryDirectory() as place:
        job: Job[Any] = Job(
            lambda number, device: batch, step, config, Path(place), {}, 0, (), {}, processes,
            processes.total,
        )  # fmt: skip
        fabric = make_fabric(torch.device("cpu"), processes, config.sharding)
        state = begin(job, net, fabric, "32-true")
        batches: Iterator[tuple[int, Any]] = iter([(0, batch), (1, batch)])
        for _ in range(2):
            update(job, state, batches)
    told = {"kept": kept_bytes(state), "resident": psutil.Process().memory_info().rss}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), FitConfig.model_validate(json.loads(sys.argv[3])))
