"""Iris, the network of MASS as it was released, to the number.

The facts are in the paper and in the shapes of the released weights; `released.py` reads these.
What differs is how it is computed. Letters: B batch, K masks, T tokens of a mask, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.model.iris_blocks import Attention, ConvBlock, FeedForward, Perceptron, TwoBlocks
from mass3d.model.iris_task import TaskStage
from mass3d.model.presets import IrisPreset
from mass3d.model.protocol import Maps, TaskTensors, segment_pair

STRIDE: Final = 16
TOKENS: Final = ("tokens_0", "tokens_1", "tokens_2")  # of a task, the deepest stage first


class Encoder(nn.Module):
    """(B, 1, D, H, W) -> maps at strides 1, 2, 4, 8 and 16."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, channels[0], 3, padding=1, bias=False)
        self.first = ConvBlock(channels[0], channels[0])
        self.stages = nn.ModuleList(
            TwoBlocks(before, after) for before, after in pairwise(channels)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """The maps, finest first."""
        maps = [self.first(self.stem(image))]
        for stage in self.stages:
            maps.append(stage(F.max_pool3d(maps[-1], 2)))
        return maps


class FusionBlock(nn.Module):
    """Tokens look at the map, the map at the tokens, and the tokens of all masks at each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gather, self.update = Attention(width, over_context=True), FeedForward(width)
        self.spread, self.refine = Attention(width, over_context=True), FeedForward(width)
        self.attend, self.update_after = Attention(width), FeedForward(width)

    def forward(self, cells: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """cells (B, N, C), tokens (B, K T, C) -> the same shapes, updated."""
        tokens = self.update(self.gather(tokens, cells))
        cells = self.refine(self.spread(cells, tokens))
        return cells, self.update_after(self.attend(tokens))


class Fusion(nn.Module):
    """Two blocks between a map and the tokens of a stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FusionBlock(width) for _ in range(2))

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, C, d, h, w), tokens (B, K, T, C) -> features, the first tokens (B, K, C)."""
        masks = tokens.shape[1]
        cells, flat = features.flatten(2).transpose(1, 2), tokens.flatten(1, 2)
        for block in self.blocks:
            cells, flat = block(cells, flat)
        back = cells.transpose(1, 2).unflatten(2, features.shape[2:])
        return back, flat.unflatten(1, (masks, -1))[:, :, 0]


class Decoder(nn.Module):
    """A U-Net decoder whose three deepest stages exchange with the tokens first."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        deep = list(reversed(channels))
        self.fusions = nn.ModuleList(map(Fusion, deep[:3]))
        self.stages = nn.ModuleList(
            TwoBlocks(before + after, after) for before, after in pairwise(deep)
        )

    def forward(self, maps: Maps, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """maps finest first, tokens (B, K, T, C) of three stages, the deepest first.

        Returns features (B, C, D, H, W) and what each mask has become (B, K, sum of C).
        """
        x, found = maps[-1], []
        for number, stage in enumerate(self.stages):
            if number < len(self.fusions):
                x, posterior = self.fusions[number](x, tokens[number])
                found.append(posterior)
            x = stage(beside(maps[-2 - number], x))
        return x, torch.cat(found, -1)


class Classifier(nn.Module):
    """The weights that a mask has become, for a dot product with the features."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(before)
        self.write = Perceptron(before, before, after)
        self.refine = Perceptron(after, after, after)

    def forward(self, features: Tensor, posteriors: Tensor) -> Tensor:
        """features (B, C, D, H, W), posteriors (B, K, C') -> logits (B, K, D, H, W)."""
        weights = self.refine(self.write(self.norm(posteriors)))
        return torch.einsum("bkc,bcdhw->bkdhw", weights, features)


class IrisNet(nn.Module):
    """Finds in a query image the regions that a reference image and its masks define.

    Its task is `tokens_0`, `tokens_1` and `tokens_2` (B, K, T, C) of the three deepest stages. An
    image may have any size from one stride on; a reference at most the edge of the learned maps of
    positions. Masks see each other while they are decoded: what is asked besides changes a logit.
    """

    stride = STRIDE
    feature_stride = 1
    encoder_parts = ("encoder",)

    def __init__(self, preset: IrisPreset) -> None:
        super().__init__()
        channels = preset.channels
        deep = tuple(reversed(channels))[:3]
        self.feature_channels = channels[0]
        self.max_reference = preset.position_edge
        self.encoder = Encoder(channels)
        self.tasks = nn.ModuleList(
            TaskStage(width, STRIDE // 2**number, queries=preset.queries, edge=preset.position_edge)
            for number, width in enumerate(deep)
        )
        self.decoder = Decoder(channels)
        self.classifier = Classifier(sum(deep), channels[0])

    def encode(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W) -> feature maps at strides 1, 2, 4, 8, 16.

        Raises `ConfigError` for an image with an edge below one stride.
        """
        if min(image.shape[2:]) < STRIDE:
            raise _misfit(
                "an image",
                image.shape[2:],
                f"at least the stride of the network, {STRIDE}, along each axis",
                "Pad the image.",
            )
        maps: list[Tensor] = self.encoder(image)
        return maps

    def encode_task(self, maps: Maps, masks: Tensor) -> TaskTensors:
        """masks (B, K, D, H, W) in [0, 1] on the image of `maps` -> tokens of three stages.

        Raises `ConfigError` for a reference that is larger than the learned maps of positions, or
        whose edges are no multiples of the stride.
        """
        shape = masks.shape[2:]
        if max(shape) > self.max_reference:
            raise _misfit(
                "a reference",
                shape,
                f"at most {self.max_reference} along each axis, as the network has "
                "learned no positions beyond",
                "Show a smaller part of the scan.",
            )
        _require_strides("a reference", shape)
        stages = zip(TOKENS, self.tasks, reversed(maps), strict=False)
        return {name: stage(features, masks) for name, stage, features in stages}

    def join_tasks(self, parts: Sequence[TaskTensors], weights: Tensor) -> TaskTensors:
        """The average of the tokens; weights (P, K). A mask of no weight is seen empty in all."""
        weights = torch.where(weights.sum(0) > 0, weights, 1.0)
        share = (weights / weights.sum(0))[:, None, :, None, None]
        stacked = {name: torch.stack([part[name] for part in parts]) for name in TOKENS}
        return {name: (one * share.to(one)).sum(0) for name, one in stacked.items()}

    def decode(self, maps: Maps, task: TaskTensors) -> Tensor:
        """Feature maps of a query and a task -> logits (B, K, D, H, W)."""
        logits: Tensor = self.classifier(*self.decoder(maps, [task[name] for name in TOKENS]))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), edges multiples of the stride -> (B, C, D, H, W).

        What the decoder makes of the image where the task is all of it, or of the middle of an
        image that is larger than a reference may be. Raises `ConfigError` for other edges.
        """
        _require_strides("a window", image.shape[2:])
        maps = self.encode(image)
        shape = [min(n, self.max_reference // STRIDE * STRIDE) for n in image.shape[2:]]
        task = self.encode_task(
            [middle(one, [n >> level for n in shape]) for level, one in enumerate(maps)],
            image.new_ones(len(image), 1, *shape),
        )
        found: Tensor = self.decoder(maps, [task[name] for name in TOKENS])[0]
        return found

    def forward(self, reference: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        """reference, query (B, 1, D, H, W); masks (B, K, D, H, W) -> logits (B, K, D, H, W)."""
        return segment_pair(self, reference, masks, query)


def _require_strides(where: str, shape: Sequence[int]) -> None:
    """Raise `ConfigError` for edges that blocks of one stride do not fill."""
    if any(n % STRIDE for n in shape):
        raise _misfit(
            where,
            shape,
            f"multiples of the stride of the network, {STRIDE}, along each axis",
            f"Pad or crop it to {' x '.join(str(-(-n // STRIDE) * STRIDE) for n in shape)}.",
        )


def _misfit(where: str, shape: Sequence[int], expected: str, fix: str) -> ConfigError:
    return ConfigError(
        where,
        found=f"{' x '.join(map(str, shape))} voxels",
        expected=expected,
        fix=fix,
        setting="views.crop_vox",
    )


def middle(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The middle (B, C, *shape) of a map."""
    for axis, size in enumerate(shape, start=2):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x


def beside(skip: Tensor, x: Tensor) -> Tensor:
    """The map of a skip and, brought to its size, the one below: (B, C + C', D, H, W)."""
    up = F.interpolate(x.float(), skip.shape[2:], mode="trilinear", align_corners=True)
    return torch.cat([skip, up.to(skip)], 1)
