"""A label carried to a scan that was moved, by an affine registration alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from heads import SHAPE, head
from mass3d.transfer.oneshot.floor import AffineFloor
from mass3d.transfer.tuning.simulate import moved
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

EDGE_MM = 2.0
PREPARATION = PreparationConfig(spacing_mm=2.5, modality="mr")


def volume(voxels: NDArray[np.float32]) -> Volume:
    return Volume.from_array(voxels, spacing_mm=(EDGE_MM,) * 3)


def shifted(voxels: torch.Tensor, mode: str) -> NDArray[np.float32]:
    """By three voxels to the front and two to the right."""
    move = torch.zeros(3, *SHAPE)
    move[1], move[2] = 3.0, -2.0
    return moved(voxels[None].float(), move, mode=mode)[0].numpy()


def test_a_label_is_carried_to_a_scan_that_was_moved() -> None:
    image = head()
    label = torch.zeros(SHAPE)
    label[15:27, 20:34, 18:38], label[27:38, 34:46, 18:38] = 4, 9
    shown = volume(label.numpy())
    floor = AffineFloor.of(volume(image.numpy()), shown, [4, 9], PREPARATION)
    found = floor.segment(volume(shifted(image, "bilinear")))
    truth = shifted(label, "nearest")
    assert found.shape == SHAPE
    assert set(np.unique(found)) == {0, 4, 9}
    for value in (4, 9):
        both = ((found == value) & (truth == value)).sum()
        assert 2 * both / ((found == value).sum() + (truth == value).sum()) > 0.85
