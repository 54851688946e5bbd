"""The in-context segmentation network: reference view + masks -> task tokens -> query masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mass3d.model.decoder import Decoder, DynamicClassifier
from mass3d.model.encoder import Encoder
from mass3d.model.presets import Preset
from mass3d.model.task_encoder import TaskEncoder


class InContextNet(nn.Module):
    """Finds in a query image the regions that a reference image and its masks define.

    Letters: B batch, K masks, T tokens per mask, C token width. Space must be a multiple of
    `stride` along every axis. MASS, section 3.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
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

    def encode_tasks(self, image: Tensor, masks: Tensor) -> Tensor:
        """image (B, 1, D, H, W), masks (B, K, D, H, W) in [0, 1] -> tokens (B, K, T, C)."""
        tokens: Tensor = self.task_encoder(self.encoder(image), masks)
        return tokens

    def segment(self, image: Tensor, tokens: Tensor) -> Tensor:
        """image (B, 1, D, H, W), tokens (B, K, T, C) -> logits (B, K, D, H, W)."""
        return self.decode(self.encoder(image), tokens)

    def forward(self, reference: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        """Encode the tasks of `reference` and segment `query`; one pass of the encoder for both.

        reference, query (B, 1, D, H, W); masks (B, K, D, H, W) -> logits (B, K, D, H, W).
        """
        both = self.encoder(torch.cat([reference, query]))
        halves = [features.chunk(2) for features in both]
        tokens = self.task_encoder([half[0] for half in halves], masks)
        return self.decode([half[1] for half in halves], tokens)

    def decode(self, maps: list[Tensor], tokens: Tensor) -> Tensor:
        """Feature maps of a query and tokens (B, K, T, C) -> logits (B, K, D, H, W)."""
        half, full, shaped = self.decoder(maps, tokens)
        written = torch.cat([tokens.flatten(2), shaped.flatten(2)], dim=-1)
        logits: Tensor = self.classifier(half, full, written)
        return logits
