"""Feature maps of a pretrained network for a head that is tuned on one scan."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.transfer.trained import TrainedModel
from mass3d.transfer.tuning.voxels import Encoder


def network_encoder(trained: TrainedModel) -> Encoder:
    """The finest maps of the network that are coarser than its input, or its finest."""
    edge = trained.crop
    with torch.no_grad():
        maps = trained.net.encode(torch.zeros(1, 1, *edge, device=trained.device))
    stride, level = 1, 0
    for number, one in enumerate(maps):
        stride, level = edge[0] // one.shape[2], number
        if stride > 1:
            break

    @torch.no_grad()
    def encode(image: Tensor) -> Tensor:
        """image (D, H, W) -> (C, d, h, w); edges repeat up to a multiple of the whole stride."""
        whole = max(edge[0] // one.shape[2] for one in maps)
        pads = [v for n in reversed(image.shape) for v in (0, -n % whole)]
        padded = F.pad(image[None, None], pads, mode="replicate").to(trained.device)
        found: Tensor = trained.net.encode(padded)[level][0].float().cpu()
        return found

    return Encoder(encode, stride)
