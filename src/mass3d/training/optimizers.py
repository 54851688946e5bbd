"""Optimisers: one literal table, and their state as tensors and plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from mass3d.model.presets import OptimizerName, Recipe

Groups: TypeAlias = list[dict[str, Any]]


def adamw(groups: Groups, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay: Loshchilov and Hutter 2019."""
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.99), foreach=True)


def lamb(groups: Groups, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam with a trust ratio per tensor, for large batches: You et al. 2020."""
    from pytorch_optimizer import Lamb  # noqa: PLC0415 - seconds to import

    return Lamb(groups, lr=recipe.lr)


def muon(groups: Groups, recipe: Recipe) -> torch.optim.Optimizer:
    """Orthogonalised momentum for matrices and kernels, AdamW for the others: Jordan et al. 2024.

    Updates are scaled so that a learning rate means what it means for AdamW.
    """
    from pytorch_optimizer import Muon  # noqa: PLC0415 - seconds to import

    kernels, others = groups
    return Muon(
        [{**kernels, "use_muon": True}, {**others, "use_muon": False}],
        lr=recipe.lr,
        adamw_lr=recipe.lr,
        use_adjusted_lr=True,
    )


OPTIMIZERS: Final[dict[OptimizerName, Callable[[Groups, Recipe], torch.optim.Optimizer]]] = {
    "adamw": adamw,
    "lamb": lamb,
    "muon": muon,
}


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of the recipe; it decays matrices and kernels only."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[recipe.optimizer](groups, recipe)


def read_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the optimiser remembers: tensors by name, and numbers that JSON can hold."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"groups": [], "state": {}}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers["state"].setdefault(str(index), {})[key] = value
    numbers["groups"] = [
        {"step": group["step"]} if "step" in group else {} for group in state["param_groups"]
    ]
    return tensors, numbers


def restore_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Bring back what `read_state` gave."""
    per_parameter: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in numbers["state"].items()
    }
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        per_parameter.setdefault(int(index), {})[key] = tensor
    groups = [
        {**group, **told}
        for group, told in zip(
            optimizer.state_dict()["param_groups"], numbers["groups"], strict=True
        )
    ]
    optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
