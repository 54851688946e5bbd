"""The contrastive objective: two views of one scan are alike, those of others are not.

SimCLR (Chen et al. 2020) with negatives of earlier steps as well (Wang et al. 2020, "Cross-batch
memory for embedding learning"): a batch of 3D scans is small. Letters: B batch, P width, Q queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.protocol import Extended

QUEUE = 64  # views of earlier steps
WIDTH = 64  # of what views are compared by
HIDDEN = 256
TEMPERATURE = 0.2
NOBODY = -1  # number of the scan in places of the queue that are empty
NEVER = -1e4  # likeness of what is not to be told apart


class Contrastive(Extended):
    """A network, a projection of its pooled features, and a queue of earlier views.

    Of the network the trunk is trained, on the coarsest map of the way down and the map at the end
    of the decoder; the rest keeps its initial weights.
    """

    network: CorrespondenceNet

    def __init__(self, network: CorrespondenceNet) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        network.trunk.requires_grad_(True)
        pooled = network.trunk.channels[-1] + network.feature_channels
        # pooled maps of any two scans are nearly alike: only beside the others of a batch do they
        # differ, and by layer norms alone nothing is learned
        among = nn.BatchNorm1d(pooled, affine=False, track_running_stats=False)
        self.project = nn.Sequential(
            among, nn.Linear(pooled, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, WIDTH)
        )
        self.queue: Tensor
        self.owners: Tensor
        self.filled: Tensor
        self.register_buffer("queue", torch.zeros(QUEUE, WIDTH))
        self.register_buffer("owners", torch.full((QUEUE,), NOBODY))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), of two scans at least -> unit vectors (B, P)."""
        maps = self.network.trunk.descend(image)
        dense = self.network.trunk.ascend(maps)
        pooled = torch.cat([maps[-1].float().mean((2, 3, 4)), dense.float().mean((2, 3, 4))], 1)
        return F.normalize(self.project(pooled).float(), dim=1)

    @torch.no_grad()
    def remember(self, kept: Mapping[str, Tensor]) -> None:
        """Put `views` (N, P) of scans `owners` (N,) into the queue, in the place of the oldest."""
        vectors, owners = kept["views"], kept["owners"]
        latest = torch.arange(max(0, len(vectors) - QUEUE), len(vectors), device=vectors.device)
        places = (self.filled + latest) % QUEUE
        self.queue[places] = vectors[latest]
        self.owners[places] = owners[latest]
        self.filled += len(vectors)


class Contrast(NamedTuple):
    """Scalars."""

    loss: Tensor
    accuracy: Tensor  # share of views that are liker to the other view of their scan than to any


def contrast(
    first: Tensor, second: Tensor, owners: Tensor, queue: Tensor, queued: Tensor
) -> Contrast:
    """InfoNCE of both views of each scan: which of all views is the other one of this scan?

    Unit vectors of views (B, P) of scans (B,), and of earlier views (Q, P) of scans (Q,), where
    `NOBODY` is an empty place. Other views of the same scan are no negatives.
    """
    views, mine = torch.cat([first, second]), torch.cat([owners, owners])
    others, theirs = torch.cat([views, queue]), torch.cat([mine, queued])
    likeness = views @ others.T / TEMPERATURE
    positive = (first * second).sum(1).repeat(2)[:, None] / TEMPERATURE
    out = (mine[:, None] == theirs) | (theirs == NOBODY)
    logits = torch.cat([positive, likeness.masked_fill(out, NEVER)], 1)
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    right = (logits.detach().argmax(1) == 0).float().mean()
    return Contrast(F.cross_entropy(logits, target), right)
