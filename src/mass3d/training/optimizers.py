"""Optimisers: one literal table, and their state as tensors and plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from mass3d.model.presets import OptimizerName, Recipe
from mass3d.training.lamb import Lamb
from mass3d.training.sharding import share_of

Groups: TypeAlias = list[dict[str, Any]]
FACTOR: Final = "factor"  # of the learning rate, of a group
ALL_ALIKE: Final[Mapping[str, float]] = {}


def adamw(groups: Groups, recipe: Recipe, momentum: float = 0.9) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay: Loshchilov and Hutter 2019."""
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(momentum, 0.99), foreach=True)


def lamb(groups: Groups, recipe: Recipe, momentum: float = 0.9) -> torch.optim.Optimizer:
    """Adam with a trust ratio per tensor, for large batches: You et al. 2020, as in the release.

    The rate is not divided by the correction of the first moment, as the library does: the trust
    ratio has made the update as long as it should be, so the first would be tenfold.
    """
    return Lamb(groups, lr=recipe.lr, momentum=momentum)


def muon(groups: Groups, recipe: Recipe, momentum: float | None = None) -> torch.optim.Optimizer:
    """Orthogonalised momentum for matrices and kernels, AdamW for the others: Jordan et al. 2024.

    Updates are scaled so that a learning rate means what it means for AdamW. Of shared weights the
    whole matrix is brought together for its update. `momentum`: of all of them; usually 0.95, and
    0.9 of what AdamW moves.
    """
    from mass3d.training.muon import Muon  # noqa: PLC0415 - seconds to import

    return Muon(
        [{**group, "use_muon": number % 2 == 0} for number, group in enumerate(groups)],
        lr=recipe.lr,
        adamw_lr=recipe.lr,
        momentum=0.95 if momentum is None else momentum,
        adamw_betas=(0.9 if momentum is None else momentum, 0.95),
        use_adjusted_lr=True,
    )


OPTIMIZERS: Final[dict[OptimizerName, Callable[..., torch.optim.Optimizer]]] = {
    "adamw": adamw,
    "lamb": lamb,
    "muon": muon,
}


def make_optimizer(
    model: nn.Module,
    recipe: Recipe,
    rates: Mapping[str, float] = ALL_ALIKE,
    *,
    momentum: float | Literal["auto"] = "auto",
) -> torch.optim.Optimizer:
    """The optimiser of the recipe; it decays matrices and kernels only.

    `rates`: factors of the learning rate, by the beginning of the names of parameters. Groups come
    in pairs: kernels and matrices, then the others. `momentum`: how much of the mean of gradients
    a step keeps, all through the run; `auto`: what the optimiser is usually given.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = []
    for prefix, factor in {"": 1.0, **rates}.items():
        mine = [p for name, p in trained if _longest_prefix(name, rates) == prefix]
        groups += [
            {"params": [p for p in mine if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0},
        ]
        for group in groups[-2:]:
            group[FACTOR] = factor
    given = {} if momentum == "auto" else {"momentum": momentum}
    return OPTIMIZERS[recipe.optimizer](groups, recipe, **given)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, each times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[FACTOR]


def _longest_prefix(name: str, rates: Mapping[str, float]) -> str:
    """The most exact of the beginnings that a name has; empty where it has none."""
    return max((prefix for prefix in rates if name.startswith(prefix)), key=len, default="")


def read_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the optimiser remembers: tensors by name, and numbers that JSON can hold.

    Tensors of shared weights are shares.
    """
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
    numbers["tensors"] = sorted(tensors)
    return tensors, numbers


def restore_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Bring back what `read_state` gave, with whole tensors, of which each process takes its share.

    Raises `ValueError` where that fits no such optimiser, and where a tensor is missing.
    """
    if numbers.get("tensors", sorted(tensors)) != sorted(tensors):  # not told by earlier versions
        raise ValueError("other tensors than were remembered")
    weights = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    per_parameter: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in numbers["state"].items()
    }
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        weight = weights[int(index)]
        alike = tensor.shape == weight.shape
        per_parameter.setdefault(int(index), {})[key] = (
            share_of(tensor, weight) if alike else tensor
        )
    groups = [
        {**group, **told}
        for group, told in zip(
            optimizer.state_dict()["param_groups"], numbers["groups"], strict=True
        )
    ]
    for group in groups:  # `load_state_dict` would find out at the next step
        kept = {
            frozenset(per_parameter[index]) for index in group["params"] if index in per_parameter
        }
        if len(kept) > 1:
            raise ValueError("parameters of which different things are remembered")
    optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
