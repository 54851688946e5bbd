"""Feature maps of a pretrained network for a head that is tuned on one scan."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.transfer.trained import TrainedModel, require_features
from mass3d.transfer.tuning.voxels import Encoder


def network_encoder(trained: TrainedModel) -> Encoder:
    """The dense feature map of a network. Raises `ModelError` for a network that has none."""
    net = require_features("the model", trained.net)

    @torch.no_grad()
    def encode(image: Tensor) -> Tensor:
        """image (D, H, W) -> (C, d, h, w); edges repeat up to a multiple of the whole stride."""
        pads = [v for n in reversed(image.shape) for v in (0, -n % net.stride)]
        padded = F.pad(image[None, None], pads, mode="replicate").to(trained.device)
        return net.features(padded)[0].float().cpu()

    return Encoder(encode, net.feature_stride)
