"""A classifier per mask in closed form: ridge regression on features and a prior.

Letters: B batch, K masks, N sampled cells, F inputs of a cell.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-2  # a prior is never surer than this
PRIOR_SCALE = 1 / 3  # brings the logarithm of a prior to the size of a feature
FREE = 0.01  # penalty of the constant, relative to that of the others


def widened(prior: Tensor) -> Tensor:
    """A prior (B, K, d, h, w) blurred over some cells, as the classifier's second scale."""
    return _mean(_mean(prior, 3), 3)


def far_blurred(prior: Tensor) -> Tensor:
    """A prior that only says roughly where a mask is: what matching alone may bring."""
    return _mean(_mean(widened(prior), 5), 5)


def _mean(x: Tensor, size: int) -> Tensor:
    """Mean over cubes of `size` cells, or of what a smaller map has; zeros around it.

    One axis after the other, by sums of shifted maps: 7 (size 3) to 23 times (size 5) faster on a
    CPU than `avg_pool3d`, which is not vectorised there.
    """
    for axis in range(2, x.dim()):
        x = _mean_along(x, axis, min(size, x.shape[axis] - 1 + x.shape[axis] % 2))
    return x


def _mean_along(x: Tensor, axis: int, size: int) -> Tensor:
    """Mean over `size` cells of one axis, an odd number."""
    total, length = x.clone(), x.shape[axis]
    for shift in range(1, size // 2 + 1):
        kept = length - shift
        total.narrow(axis, 0, kept).add_(x.narrow(axis, shift, kept))
        total.narrow(axis, shift, kept).add_(x.narrow(axis, 0, kept))
    return total / size


def inputs(features: Tensor, prior: Tensor, wide: Tensor) -> Tensor:
    """features (B, C, N) shared or (B, C, K, N) per mask; priors (B, K, N) -> (B, K, N, F).

    The last input is the constant.
    """
    K = prior.shape[1]
    if features.dim() == 3:
        features = features[:, :, None].expand(-1, -1, K, -1)
    logs = torch.stack([torch.log(prior + FLOOR), torch.log(wide + FLOOR)], 1) * PRIOR_SCALE
    joined = torch.cat([features, logs, torch.ones_like(logs[:, :1])], 1)
    return joined.permute(0, 2, 3, 1)


def fit(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """Least squares with a penalty: inputs (B, K, N, F), targets (B, K, N, T) -> (B, K, F, T)."""
    gram = x.transpose(-1, -2) @ x / x.shape[-2]
    keep = torch.ones(x.shape[-1], device=x.device)
    keep[-1] = FREE
    solved: Tensor = torch.linalg.solve(
        gram + penalty * torch.diag(keep), x.transpose(-1, -2) @ y / x.shape[-2]
    )
    return solved
