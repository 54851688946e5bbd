"""LAMB: Adam with a trust ratio per tensor (You et al. 2020), right for shares of tensors as well.

Written here because the library's takes the norm of a share for that of the tensor, or fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from mass3d.training.sharding import local, norms

BETA: Final = 0.999  # of the squares
EPS: Final = 1e-6
MOST: Final = 10.0  # what the norm of a tensor counts at most: version 3 of the paper


class Lamb(torch.optim.Optimizer):
    """As in version 3 of the paper, whose first steps are not corrected, with decoupled decay.

    The tensors of a group are all whole, or all shares of processes that step together.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(  # type: ignore[override]  # the closure that torch also knows is not for Fabric
        self, closure: Callable[[], float] | None = None
    ) -> None:
        """One update of every tensor that has a gradient."""
        assert closure is None, "the gradients are there"
        for group in self.param_groups:
            self._step(group)

    def _step(self, group: dict[str, Any]) -> None:
        whole = [p for p in group["params"] if p.grad is not None]
        if not whole:
            return
        for p in whole:
            if not self.state[p]:
                self.state[p] = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        weights = [local(p) for p in whole]
        gradients = [local(p.grad) for p in whole]
        means, squares = (
            [local(self.state[p][name]) for p in whole] for name in ("exp_avg", "exp_avg_sq")
        )
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["weight_decay"] * group["lr"])
        torch._foreach_mul_(means, group["momentum"])
        torch._foreach_add_(means, gradients, alpha=1 - group["momentum"])
        torch._foreach_mul_(squares, BETA)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - BETA)
        changes = torch._foreach_sqrt(squares)
        torch._foreach_add_(changes, EPS)
        torch._foreach_reciprocal_(changes)
        torch._foreach_mul_(changes, means)
        lengths = norms(weights, like=whole[0]).clamp_(max=MOST)
        steps = norms(changes, like=whole[0])
        trust = torch.where((lengths != 0) & (steps != 0), lengths / (steps + EPS), 1.0)
        torch._foreach_mul_(changes, trust.unbind())
        torch._foreach_add_(weights, changes, alpha=-group["lr"])
