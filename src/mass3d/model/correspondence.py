"""The network with correspondence: what a mask covers is found by matching, then drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.model import ridge
from mass3d.model.memory import keep_cells, read_out
from mass3d.model.presets import CorrespondencePreset, ResEncPreset
from mass3d.model.protocol import Maps, TaskTensors
from mass3d.model.resenc import ResEncTrunk
from mass3d.model.trunk import FOLD, Trunk, fold, unfold

MIN_SHARE = 1e-3  # of a window that shows a mask at all, in cells


class Described(NamedTuple):
    """What the network says of each cell of an image."""

    features: Tensor  # (B, C, d, h, w)
    keys: Tensor  # (B, C', d, h, w), not yet of unit length


class CorrespondenceNet(nn.Module):
    """A trunk, unit-norm keys that match between scans, and classifiers in closed form.

    Cells are blocks of 2³ voxels. Its task is `keys` (B, C', M), `values` (B, K, M) and `log_count`
    (B, M) of the cells that are kept of a reference, and `weights` (B, K, F, 8): the classifier of
    each mask, fitted by ridge regression to features, voxels and the prior that the keys read out.
    A task is made in one pass, without gradient descent. `objective.matching` says what it learns
    from.
    """

    feature_stride = FOLD

    def __init__(self, preset: CorrespondencePreset | ResEncPreset) -> None:
        super().__init__()
        self.trunk = trunk_of(preset)
        self.stride = self.trunk.stride
        self.encoder_parts = tuple(f"trunk.{part}" for part in self.trunk.encoder_parts)
        self.feature_channels = self.trunk.width
        self.max_keys = preset.max_keys
        self.key = nn.Conv3d(self.feature_channels, preset.keys, 1)
        self.log_temperature = nn.Parameter(torch.tensor(12.0).log())
        self.log_penalty = nn.Parameter(torch.tensor(0.05).log())
        self.log_gain = nn.Parameter(torch.tensor(3.0).log())
        self.offset = nn.Parameter(torch.tensor(0.0))

    @property
    def temperature(self) -> Tensor:
        """Of the affinity; at most 50."""
        return self.log_temperature.exp().clamp(max=50)

    def features(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W) -> (B, C, D/2, H/2, W/2)."""
        features: Tensor = self.trunk(image)
        return features

    def scales(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W) -> the features, then coarser maps of the trunk."""
        return self.trunk.scales(image)

    def forward(self, image: Tensor) -> Described:
        """image (B, 1, D, H, W) -> features and keys, in 32 bits."""
        features = self.features(image)
        return Described(features.float(), self.key(features).float())

    def classify(self, x: Tensor, weights: Tensor) -> Tensor:
        """Inputs (B, K, N, F) of `ridge.inputs`, weights (B, K, F, T) -> logits (B, K, N, T)."""
        return (x @ weights) * self.log_gain.exp() + self.offset

    def encode(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W) -> its folded voxels, features and keys, at stride 2."""
        features, keys = self(image)
        return [fold(image).float(), features, keys]

    def encode_task(self, maps: Maps, masks: Tensor) -> TaskTensors:
        """masks (B, K, D, H, W) in [0, 1] on the image of `maps` -> keys, values and weights."""
        shares = F.avg_pool3d(masks.float(), FOLD)
        kept = keep_cells(shares.flatten(2), self.max_keys)
        fine = fold(masks.float()).flatten(2).unflatten(1, (-1, FOLD**3))  # (B, K, 8, N)
        targets = 2 * fine.transpose(2, 3) - 1
        return {
            "keys": kept.of(_unit(maps[2])),
            "values": kept.of(shares.flatten(2)),
            "log_count": kept.log_count,
            "weights": self._fitted(self._inputs(maps, shares), targets, shares.flatten(2)),
        }

    def join_tasks(self, parts: Sequence[TaskTensors], weights: Tensor) -> TaskTensors:
        """Weights averaged, cells joined and thinned out; weights (P, K)."""
        share = (weights / weights.sum(0).clamp_min(1e-9))[:, None, :, None, None]
        classifiers = torch.stack([part["weights"] for part in parts])
        keys, values = (torch.cat([part[name] for part in parts], 2) for name in ("keys", "values"))
        kept = keep_cells(values, self.max_keys)
        counts = torch.cat([part["log_count"] for part in parts], 1)
        return {
            "keys": kept.of(keys),
            "values": kept.of(values),
            "log_count": kept.log_count + kept.of(counts[:, None])[:, 0],
            "weights": (classifiers * share.to(classifiers)).sum(0),
        }

    def decode(self, maps: Maps, task: TaskTensors) -> Tensor:
        """Maps of queries and a task -> logits (B, K, D, H, W)."""
        memory, values, counts, weights = (
            task[name] for name in ("keys", "values", "log_count", "weights")
        )
        found = read_out(_unit(maps[2]), memory, values, counts, self.temperature)
        x = self._inputs(maps, found.unflatten(2, maps[2].shape[2:]))
        logits = self.classify(x, weights).transpose(2, 3).flatten(1, 2)
        return unfold(logits.unflatten(2, maps[2].shape[2:]))

    def _inputs(self, maps: Maps, prior: Tensor) -> Tensor:
        """Inputs of the classifiers at all cells, of a prior (B, K, d, h, w) that is rough."""
        rough = ridge.far_blurred(prior)
        seen = torch.cat([maps[1], maps[0]], 1).flatten(2)
        return ridge.inputs(seen, rough.flatten(2), rough.flatten(2))

    def _fitted(self, x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
        """Classifiers of all masks: half of the weight on the mask, half on what surrounds it."""
        weight = balanced(shares, x[..., -3])
        root = weight.sqrt()[..., None] * weight.shape[-1] ** 0.5
        return ridge.fit(x * root, y * root, self.log_penalty.exp())


def trunk_of(preset: CorrespondencePreset | ResEncPreset) -> Trunk | ResEncTrunk:
    """What describes the cells of a view."""
    if isinstance(preset, ResEncPreset):
        return ResEncTrunk(preset.plan, width=preset.width)
    return Trunk(preset.channels, deep=preset.deep)


def _unit(keys: Tensor) -> Tensor:
    """Keys (B, C, d, h, w) of unit length: (B, C, N)."""
    return F.normalize(keys.flatten(2), dim=1)


def balanced(shares: Tensor, log_prior: Tensor) -> Tensor:
    """Weights (B, K, N) of cells that sum to one: a half on the mask, a half near it.

    shares (B, K, N) in [0, 1]; near is where the scaled log prior (B, K, N) is above its floor.
    """
    lowest = torch.log(torch.tensor(2 * ridge.FLOOR)).item() * ridge.PRIOR_SCALE
    near = (log_prior > lowest) * (1 - shares) + 1e-6
    inside = shares / shares.sum(-1, keepdim=True).clamp_min(MIN_SHARE)
    return (inside + near / near.sum(-1, keepdim=True)) / 2
