"""Where a run computes and in which numbers: Lightning Fabric for one process or many."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.plugins.precision import Precision as FullPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from mass3d.errors import ConfigError, ModelError
from mass3d.execution.faults import first_line
from mass3d.execution.processes import ALONE, Processes
from mass3d.training.config import Precision, Sharding
from mass3d.training.sharding import is_shared, shard
from mass3d.training.started import Started, own_device

Told = TypeVar("Told")

OLDEST_SHARDING: Final = "2.7"
NETWORK_METHODS = ("encode", "encode_task", "decode")
MAX_WAIT = timedelta(hours=6)  # of processes for the first one, which aligns scans before a run
LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL", "gloo", "Broken pipe")


def make_fabric(
    device: torch.device, processes: Processes = ALONE, sharding: Sharding = "none"
) -> Fabric:
    """A Fabric of the processes, by default of this one alone whatever it was started as.

    Its device is that of this process: of `cuda`, a GPU for each. It computes in 32 bits at first.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if processes.total > 1:
        strategy = _strategy(processes, sharding)
        # each process uses its own only; Fabric looks for it at its place among all of a machine
        strategy.parallel_devices = [own_device(device, processes)] * processes.per_machine
        fabric = Fabric(
            accelerator=device.type,
            devices=1,
            num_nodes=processes.machines,
            strategy=strategy,
            plugins=[Started(processes)],
        )
    else:
        where = [device.index] if device.index is not None and device.type != "cpu" else 1
        fabric = Fabric(
            accelerator=device.type,
            devices=where,
            plugins=[LightningEnvironment()],
        )
    fabric.launch()
    return fabric


def _strategy(processes: Processes, sharding: Sharding) -> DDPStrategy | ModelParallelStrategy:
    if sharding == "none":
        return DDPStrategy(timeout=MAX_WAIT)
    if torch.__version__ < OLDEST_SHARDING:
        raise ConfigError(
            "setting 'fit.sharding'",
            found=f"torch {torch.__version__}",
            expected=f"{OLDEST_SHARDING} or newer, whose processes can share all but a few weights",
            fix="Install a newer torch, or set fit.sharding to none.",
            setting="fit.sharding",
        )
    return ModelParallelStrategy(
        shard, data_parallel_size=processes.total, tensor_parallel_size=1, timeout=MAX_WAIT
    )


def mesh_of(fabric: Fabric) -> DeviceMesh | None:
    """The processes among which a model is sharded; None where each has all of it."""
    strategy = fabric.strategy
    return strategy.device_mesh if isinstance(strategy, ModelParallelStrategy) else None


def compute_in(fabric: Fabric, precision: Precision) -> None:
    """Change the numbers that models are run in from now on."""
    if precision == "bf16-mixed":
        fabric.strategy.precision = MixedPrecision(precision, fabric.device.type)
    else:
        fabric.strategy.precision = FullPrecision()


@contextmanager
def lost_process_told(run: Path, processes: Processes) -> Iterator[None]:
    """Turn what is raised when another process of the run is gone into a `ModelError`."""
    try:
        yield
    except RuntimeError as error:
        if processes.total == 1 or not any(words in str(error) for words in LOST):
            raise
        raise ModelError(
            run,
            found=f"another process of the run that ended ({first_line(error)})",
            expected=f"{processes.total} processes until the last step",
            fix="What was saved is kept: the same command goes on from there.",
        ) from error


def wrap(fabric: Fabric, model: nn.Module) -> _FabricModule:
    """The model as Fabric runs it, in the precision of the run whichever way it is called."""
    if isinstance(fabric.strategy, DDPStrategy):
        lay_gradients_as_weights(model.parameters())
    wrapped = fabric.setup_module(model)
    for name in NETWORK_METHODS:
        if hasattr(model, name):
            wrapped.mark_forward_method(name)
    return wrapped


def lay_gradients_as_weights(parameters: Iterable[nn.Parameter]) -> None:
    """Give gradients the strides of their kernels, from which DDP makes room for them.

    Along axes of one voxel, as of 1 x 1 x 1 kernels, strides mean nothing: the memory is the same,
    and torch's kernels choose others than those of channels last. DDP would warn of that.
    """
    for parameter in parameters:
        if parameter.requires_grad and parameter.ndim > 1 and parameter.is_contiguous():
            parameter.register_hook(partial(_with_strides, strides=parameter.stride()))


def _with_strides(gradient: Tensor, *, strides: tuple[int, ...]) -> Tensor:
    return gradient.as_strided(gradient.shape, strides) if gradient.is_contiguous() else gradient


def mean_of_processes(fabric: Fabric, value: Tensor) -> float:
    """A scalar of each process -> their mean."""
    return float(cast("Tensor", fabric.all_reduce(value)))


def average_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Give gradients of weights that each process has as a whole their mean over the processes."""
    given = [p.grad for p in parameters if p.grad is not None and not is_shared(p.grad)]
    if not given:
        return
    flat = torch.cat([gradient.flatten() for gradient in given])
    mean = cast("Tensor", fabric.all_reduce(flat))
    for gradient, part in zip(given, mean.split([one.numel() for one in given]), strict=True):
        gradient.copy_(part.view_as(gradient))


def of_all_batches(fabric: Fabric, mine: Sequence[Tensor]) -> Tensor:
    """A tensor (n, ...) of each batch of this process -> (N, ...) of all batches, in their order.

    Processes take batches in turn.
    """
    parts = torch.stack(list(mine))
    if fabric.world_size == 1:
        return parts.flatten(0, 1)
    every = cast("Tensor", fabric.all_gather(parts))  # (processes, batches of each, n, ...)
    return every.transpose(0, 1).flatten(0, 2)


def of_all_processes(fabric: Fabric, mine: list[Told]) -> list[Told]:
    """What each process has to tell, in their order; all must ask for it at the same time."""
    if fabric.world_size == 1:
        return mine
    told: list[list[Told]] = [[] for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(told, mine)
    return [one for some in told for one in some]


def agreed(fabric: Fabric, number: int, due: bool) -> tuple[int, bool]:
    """What any of the processes was told, or thinks is due, so that all save and stop together."""
    if fabric.world_size == 1:
        return number, due
    told = largest_of_processes(fabric, [number, int(due)])
    return told[0], bool(told[1])


def largest_of_processes(fabric: Fabric, values: Sequence[int]) -> list[int]:
    """Numbers of each process -> the largest of each."""
    told = torch.tensor(values, device=fabric.device)
    return [int(value) for value in cast("Tensor", fabric.all_reduce(told, reduce_op="max"))]
