"""Masks of a reference read out where a query's cells match: a memory of keys and masks.

Space-time memory networks: Oh et al. 2019; STCN: Cheng et al. 2021.
Letters: B batch, K masks, M kept cells, N cells of the query, C key channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_CELLS = 4096  # matched at once; bounds the affinity where attention must keep it
LANES = 8  # what widths are multiples of


class Kept(NamedTuple):
    """Which cells of a reference are kept, and how many each of them stands for."""

    cells: Tensor  # (B, M) indices, ascending
    log_count: Tensor  # (B, M)

    def of(self, x: Tensor) -> Tensor:
        """What is kept of (B, C, N): (B, C, M)."""
        return x.gather(2, self.cells[:, None].expand(-1, x.shape[1], -1))


def keep_cells(shares: Tensor, count: int) -> Kept:
    """At most `count` cells of masks (B, K, N) in [0, 1].

    Half of them are those that masks cover most; the others lie evenly over all, and stand for what
    was not kept.
    """
    B, _, N = shares.shape
    if count >= N:
        every = torch.arange(N, device=shares.device).expand(B, N)
        return Kept(every, torch.zeros(B, N, device=shares.device))
    even = torch.linspace(0, N - 1, count - count // 2, device=shares.device).long()
    covered = shares.amax(1)
    covered[:, even] = -1  # kept already
    best = covered.topk(count // 2, dim=1).indices
    cells, order = torch.cat([best, even.expand(B, -1)], 1).sort(1)
    left = (N - count // 2) / (count - count // 2)
    counts = torch.ones(B, count, device=shares.device)
    counts[:, count // 2 :] = left
    return Kept(cells, counts.log().gather(1, order))


def read_out(
    keys: Tensor, memory: Tensor, values: Tensor, log_count: Tensor, temperature: Tensor
) -> Tensor:
    """Masks at the cells of a query.

    Unit keys of the query (B, C, N) and of the memory (B, C, M), values (B, K, M) in [0, 1] and
    `log_count` (B, M) of `Kept` -> (B, K, N): each query cell's mean of values, weighted by
    softmax(temperature x cosine). As attention, which keeps no affinity in memory.
    """
    wide = -(-max(keys.shape[1] + 1, values.shape[1]) // LANES) * LANES
    # one more channel adds the logarithm to the likeness
    asked = _rows(torch.cat([temperature * keys, torch.ones_like(keys[:, :1])], 1), wide)
    held = _rows(torch.cat([memory, log_count[:, None]], 1), wide)
    shown = _rows(values, wide)
    parts = [
        F.scaled_dot_product_attention(some, held, shown, scale=1.0)
        for some in asked.split(QUERY_CELLS, dim=2)
    ]
    return torch.cat(parts, 2)[:, 0, :, : values.shape[1]].transpose(1, 2)


def _rows(x: Tensor, wide: int) -> Tensor:
    """(B, C, N) -> (B, 1, N, wide), zeros beyond C: attention is fastest where all are as wide."""
    return F.pad(x.transpose(1, 2), (0, wide - x.shape[1]))[:, None]
