"""The first state of a run: the model where it is trained, its average and its optimiser."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from mass3d.execution.progress import tell
from mass3d.training.config import Precision
from mass3d.training.ema import Ema
from mass3d.training.fabric import compute_in, mesh_of, wrap
from mass3d.training.job import FitState, Job
from mass3d.training.memory import shares_in_words
from mass3d.training.optimizers import make_optimizer
from mass3d.training.sharding import Blank, shard


def begin(job: Job[Any], model: nn.Module, fabric: Fabric, precision: Precision) -> FitState:
    """Where a run begins that is not resumed; processes may share the model from now on."""
    compute_in(fabric, precision)
    mesh, blank = mesh_of(fabric), None
    ema = Ema(model, decay=job.config.ema_decay)
    if mesh is not None:
        blank = Blank(model)
        for one in (model, ema.model):
            one.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # stubs
        shard(ema.model, mesh)
    wrapped = wrap(fabric, model)
    made = make_optimizer(model, job.config, job.rates, momentum=job.config.momentum)
    if mesh is not None:
        tell(shares_in_words(model, made, processes=fabric.world_size))
    optimizer = cast("torch.optim.Optimizer", fabric.setup_optimizers(made))
    return FitState(fabric, precision, model, wrapped, ema, optimizer, blank)
