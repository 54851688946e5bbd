"""Where a run computes and in which numbers: Lightning Fabric for one process or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from mass3d.training.config import Precision

NETWORK_METHODS = ("encode", "encode_task", "decode")


def make_fabric(device: torch.device, precision: Precision) -> Fabric:
    """A Fabric of this process alone."""
    where = [device.index] if device.index is not None and device.type != "cpu" else 1
    fabric = Fabric(accelerator=device.type, devices=where, precision=precision)
    fabric.launch()
    return fabric


def wrap(fabric: Fabric, model: nn.Module) -> _FabricModule:
    """The model as Fabric runs it, in the precision of the run whichever way it is called."""
    wrapped = fabric.setup_module(model)
    for name in NETWORK_METHODS:
        if hasattr(model, name):
            wrapped.mark_forward_method(name)
    return wrapped


def mean_of_processes(fabric: Fabric, value: Tensor) -> float:
    """A scalar of each process -> their mean."""
    return float(cast("Tensor", fabric.all_reduce(value)))


def largest_of_processes(fabric: Fabric, values: Sequence[int]) -> list[int]:
    """Numbers of each process -> the largest of each."""
    told = torch.tensor(values, device=fabric.device)
    return [int(value) for value in cast("Tensor", fabric.all_gather(told)).amax(0)]
