"""Made-up heads for tests of alignment and of what is built on it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.geometry import cell_centres

SHAPE = (52, 64, 56)


def head(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """An ellipsoid with tissue of several sizes in noisy air: (D, H, W)."""
    draw = torch.Generator().manual_seed(seed)
    points = (cell_centres(shape, 1, (0, 0, 0)) + 0.5) / torch.tensor(shape) * 2 - 1
    body = (points**2).sum(-1) < 0.7
    tissue = torch.full(shape, 10.0)
    for cells, strength in ((4, 2.0), (9, 1.5), (18, 1.0)):
        coarse = torch.randn(1, 1, cells, cells, cells, generator=draw)
        tissue += strength * F.interpolate(coarse, shape, mode="trilinear")[0, 0]
    return torch.where(body, tissue, 0.0) + 0.1 * torch.randn(shape, generator=draw)


def bent(strength: float) -> Tensor:
    """Places (D, H, W, 3) moved smoothly, `strength` voxels in the root of the mean square."""
    nodes = torch.randn(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    field = F.interpolate(nodes, SHAPE, mode="trilinear", align_corners=True)[0]
    field *= strength / (field**2).sum(0).mean().sqrt()
    return cell_centres(SHAPE, 1, (0, 0, 0)) + field.permute(1, 2, 3, 0)
