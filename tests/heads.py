"""Made-up heads for tests of alignment and of what is built on it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.geometry import cell_centres, sampled
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_volume
from mass3d.volume.volume import Volume

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


def bent(strength: float, seed: int = 5) -> Tensor:
    """Places (D, H, W, 3) moved smoothly, `strength` voxels in the root of the mean square."""
    nodes = torch.randn(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    field = F.interpolate(nodes, SHAPE, mode="trilinear", align_corners=True)[0]
    field *= strength / (field**2).sum(0).mean().sqrt()
    return cell_centres(SHAPE, 1, (0, 0, 0)) + field.permute(1, 2, 3, 0)


def two_structures() -> Tensor:
    """Labels 1 and 2 within a head: (D, H, W)."""
    label = torch.zeros(SHAPE, dtype=torch.long)
    label[18:30, 20:34, 20:31], label[31:38, 20:34, 20:31] = 1, 2
    return label


def prepared_head(strength: float = 0.0, seed: int = 5) -> Prepared:
    """The same head, bent, as an MR scan with voxels of one millimetre.

    One of the two structures is bright, the other dark.
    """
    tissue = head() + torch.tensor([0.0, 8.0, -6.0])[two_structures()]
    image = sampled(tissue[None], bent(strength, seed), 1, (0, 0, 0))[0]
    volume = Volume.from_array(image.numpy(), spacing_mm=(1.0, 1.0, 1.0))
    return prepare_volume(volume, PreparationConfig(spacing_mm=1.0, modality="mr"))
