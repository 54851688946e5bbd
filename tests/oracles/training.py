"""Slow plain versions of what `mass3d.training` does: one number, one step at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BETA1, BETA2, TINY = 0.9, 0.99, 1e-8


def adamw(
    start: Sequence[float],
    gradients: Sequence[Sequence[float]],
    *,
    lr: float,
    decay: float,
    momentum: float = BETA1,
) -> list[float]:
    """Where AdamW brings some numbers, by the formulas of its paper."""
    ended = []
    for index, begin in enumerate(start):
        value, mean, square = begin, 0.0, 0.0
        for step, gradient in enumerate(gradients, start=1):
            mean = momentum * mean + (1 - momentum) * gradient[index]
            square = BETA2 * square + (1 - BETA2) * gradient[index] ** 2
            value -= lr * decay * value
            change = (mean / (1 - momentum**step)) / (math.sqrt(square / (1 - BETA2**step)) + TINY)
            value -= lr * change
        ended.append(value)
    return ended


def lamb(
    start: Sequence[float],
    gradients: Sequence[Sequence[float]],
    *,
    lr: float,
    decay: float,
    momentum: float = BETA1,
) -> list[float]:
    """Where LAMB brings the numbers of one tensor: Adam times the norm of what it changes.

    As in version 3 of its paper, without a correction of the first steps; the norm of the tensor
    counts up to 10.
    """
    values, means, squares = list(start), [0.0] * len(start), [0.0] * len(start)
    for gradient in gradients:
        means = [momentum * m + (1 - momentum) * g for m, g in zip(means, gradient, strict=True)]
        squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, gradient, strict=True)]
        values = [value - lr * decay * value for value in values]
        change = [m / (math.sqrt(s) + 1e-6) for m, s in zip(means, squares, strict=True)]
        length, weight = norm(change), min(norm(values), 10.0)
        trust = weight / (length + 1e-6) if weight and length else 1.0
        values = [v - lr * trust * c for v, c in zip(values, change, strict=True)]
    return values


def norm(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def averages(values: Sequence[float], *, start: float, decay: float) -> float:
    """What an average that began at `start` is after a weight took these values in turn."""
    average = start
    for step, value in enumerate(values):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * value
    return average


def rate(step: int, steps: int, *, peak: float) -> float:
    """Learning rate of the step after `step` others: up over a twentieth, then half a cosine."""
    progress = (step + 1) / (steps + 1)
    if progress < 0.05:
        return peak * progress / 0.05
    return peak * (1 + math.cos(math.pi * (progress - 0.05) / 0.95)) / 2


def train(
    model: nn.Module,
    loss_of: Callable[[nn.Module, int], Tensor],
    *,
    steps: int,
    peak: float,
    decay: float,
    clip: float,
    ema_decay: float,
) -> nn.Module:
    """The loop without all that makes it safe: returns the averaged model."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}],
        betas=(BETA1, BETA2),
        foreach=False,
    )
    average = copy.deepcopy(model)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, peak=peak)
        optimizer.zero_grad()
        loss_of(model, step).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        length = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
        for gradient in gradients:
            gradient *= min(1.0, clip / (length + 1e-6))  # noqa: PLW2901 - in place
        optimizer.step()
        kept = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.copy_(kept * slow + (1 - kept) * fast)
    return average
