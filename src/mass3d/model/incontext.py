"""The in-context segmentation network: reference view + masks -> task tokens -> query masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mass3d.model.decoder import Decoder, DynamicClassifier
from mass3d.model.encoder import Encoder
from mass3d.model.presets import InContextPreset
from mass3d.model.protocol import Maps, TaskTensors, segment_pair
from mass3d.model.task_encoder import TaskEncoder


class InContextNet(nn.Module):
    """Finds in a query image the regions that a reference image and its masks define.

    Its task is `tokens` (B, K, T, C). Letters: B batch, K masks, T tokens per mask, C token width.
    MASS, section 3.
    """

    def __init__(self, preset: InContextPreset) -> None:
        super().__init__()
        self.stride = 2 ** (len(preset.channels) - 1)
        self.encoder = Encoder(preset.channels, blocks=preset.blocks)
        self.task_encoder = TaskEncoder(preset.channels, dim=preset.dim, tokens=preset.tokens)
        self.decoder = Decoder(
            preset.channels, dim=preset.dim, fusions=preset.fusions, heads=preset.heads
        )
        self.classifier = DynamicClassifier(
            preset.channels[1],
            2 * preset.channels[0],
            features=2 * preset.tokens * preset.dim,
            hidden=preset.hidden,
        )

    def encode(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W) -> feature maps at strides 1, 2, 4, ..."""
        maps: list[Tensor] = self.encoder(image)
        return maps

    def encode_task(self, maps: Maps, masks: Tensor) -> TaskTensors:
        """masks (B, K, D, H, W) in [0, 1] on the image of `maps` -> tokens (B, K, T, C)."""
        return {"tokens": self.task_encoder(maps, masks)}

    def join_tasks(self, parts: Sequence[TaskTensors], weights: Tensor) -> TaskTensors:
        """The average of the tokens; weights (P, K). A mask of no weight gets tokens of zero."""
        share = weights / weights.sum(0).clamp_min(1e-9)
        tokens = torch.stack([part["tokens"] for part in parts])
        return {"tokens": (tokens * share[:, None, :, None, None].to(tokens)).sum(0)}

    def decode(self, maps: Maps, task: TaskTensors) -> Tensor:
        """Feature maps of a query and tokens (B, K, T, C) -> logits (B, K, D, H, W)."""
        tokens = task["tokens"]
        half, full, shaped = self.decoder(maps, tokens)
        written = torch.cat([tokens.flatten(2), shaped.flatten(2)], dim=-1)
        logits: Tensor = self.classifier(half, full, written)
        return logits

    def forward(self, reference: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        """reference, query (B, 1, D, H, W); masks (B, K, D, H, W) -> logits (B, K, D, H, W)."""
        return segment_pair(self, reference, masks, query)
