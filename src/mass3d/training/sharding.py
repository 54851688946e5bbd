"""Weights that processes share: each keeps a part of every kernel, and sees the whole when needed.

Kernels and matrices are cut along their first axis (FSDP2 of torch: Zhao et al. 2023, "PyTorch
FSDP"). Norms, biases and single numbers, which are next to nothing, are kept whole by all, so that
a step may read them wherever it likes.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

import torch
import torch.distributed
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

SHARED: Final = "torch.distributed.tensor"  # takes long to import, and is rarely needed
FEWEST: Final = 2**16  # weights that are brought together on their own, before they are used
AXIS: Final = "data_parallel"  # of the mesh that Fabric makes


def shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The same model, of which this process keeps its share from now on.

    Parts of many weights are brought together right before they are used, and left again; the rest
    is together from the beginning of a step to its end.
    """
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - see SHARED

    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # of views: none is changed
    kept_whole = {p for p in model.parameters() if p.ndim < 2}
    for part in (*_parts(model), model):
        fully_shard(part, mesh=mesh[AXIS], ignored_params=kept_whole)
    return model


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Modules whose weights are used by nobody but their own forward pass."""
    for child in module.children():
        layer = not list(child.children()) and type(child).forward is not nn.Module.forward
        if not layer and not getattr(child, "reads_weights_of_parts", False):
            yield from _parts(child)
        elif sum(p.numel() for p in child.parameters() if p.ndim > 1) >= FEWEST:
            yield child


def is_shared(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether processes share a tensor; none does before the module of such tensors is imported."""
    module = sys.modules.get(SHARED)
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor, on which changes in place change it."""
    if is_shared(tensor):
        found: Tensor = cast("DTensor", tensor.detach()).to_local()
        return found
    return tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every process must ask for it at the same time."""
    return tensor.full_tensor() if is_shared(tensor) else tensor


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process keeps of a whole tensor that is shared like another one.

    It lies in memory as that does: sums over it, such as LAMB's norms, then come out the same.
    """
    if not is_shared(like):
        return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
    mesh, placements = like.device_mesh, like.placements
    axis = cast("Any", placements[0]).dim
    parts = tensor.to(like.device).chunk(mesh.size(), axis)
    rank = mesh.get_local_rank()
    mine = parts[rank] if rank < len(parts) else tensor.to(like.device).narrow(axis, 0, 0)
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - see SHARED

    return DTensor.from_local(
        mine.clone(), mesh, placements, shape=tensor.shape, stride=tensor.contiguous().stride()
    )


def norms(tensors: Sequence[Tensor], *, like: Tensor) -> Tensor:
    """Norms (n,) of whole tensors, of each of which this process has its share; `like`: of one."""
    mine = torch.stack(torch._foreach_norm(list(tensors)))
    if not is_shared(like):
        return mine
    squares = mine.square_()
    torch.distributed.all_reduce(squares, group=like.device_mesh.get_group())
    return squares.sqrt_()


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Shorten the gradient of all parameters to a norm of `most`; returns the norm before."""
    given = list(parameters)
    gradients = [p.grad for p in given if p.grad is not None]
    shared = [gradient for gradient in gradients if is_shared(gradient)]
    if not shared:
        return torch.nn.utils.clip_grad_norm_(given, most, foreach=True)
    others = [gradient for gradient in gradients if not is_shared(gradient)]
    parts = [norms([local(one) for one in shared], like=shared[0])]
    parts += [norms(others, like=others[0])] if others else []
    norm: Tensor = torch.cat(parts).norm()
    torch._foreach_mul_(list(map(local, gradients)), (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


@torch.no_grad()
def drop_unless_finite(parameters: Iterable[nn.Parameter], norm: Tensor) -> None:
    """Make all gradients zero where their norm is not finite, without waiting for the device."""
    bad = ~norm.isfinite()
    for parameter in parameters:
        if parameter.grad is not None:
            local(parameter.grad).masked_fill_(bad, 0)


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model, whole or sharded, the weights and buffers of a state of the whole one."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            local(tensor).copy_(local(share_of(tensors[name], tensor)))


def together(tensors: Mapping[str, Tensor], *, kept: bool) -> dict[str, Tensor]:
    """Whole tensors from those of which each process has a share, where they are to be kept.

    Every process must ask for it at the same time. What was shared comes to the CPU, one by one.
    """
    found = {}
    for name, tensor in tensors.items():
        one = whole(tensor)
        if kept:
            found[name] = one.cpu() if is_shared(tensor) else one
    return found


class Blank:
    """A model without its weights, to be given those of a sharded one, which cannot be copied."""

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).to("meta")

    def filled(self, model: nn.Module) -> nn.Module:
        """What a sharded model is as a whole; every process must ask for it at the same time."""
        tensors = {name: whole(tensor) for name, tensor in model.state_dict().items()}
        self._model.load_state_dict(tensors, assign=True)
        return self._model
