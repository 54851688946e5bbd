"""The discrete search against a plain one, and a displacement on the cells of another level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mass3d.alignment.deformation import discrete_search, resized
from mass3d.alignment.features import Level
from mass3d.alignment.filters import box_mean
from mass3d.alignment.settings import AlignmentConfig

SHAPE = (6, 7, 5)


def plain_search(
    moved: np.ndarray, fixed: np.ndarray, valid: np.ndarray, radius: int, coupling: list[float]
) -> torch.Tensor:
    """One shift and one cell after the other."""
    shifts = [np.array(v) - radius for v in np.ndindex(*[2 * radius + 1] * 3)]
    limit = np.array(SHAPE) - 1
    cost = np.zeros((len(shifts), *SHAPE), np.float32)
    for number, shift in enumerate(shifts):
        for cell in np.ndindex(*SHAPE):
            there = tuple(np.clip(np.array(cell) + shift, 0, limit))
            apart = moved[(slice(None), *there)] - fixed[(slice(None), *cell)]
            cost[(number, *cell)] = valid[cell] * (apart**2).sum()
    cost = box_mean(torch.from_numpy(cost)).numpy()
    field = np.zeros((3, *SHAPE), np.float32)
    for weight in [0.0, *coupling]:
        best = np.zeros((3, *SHAPE), np.float32)
        for cell in np.ndindex(*SHAPE):
            pull = [((shift - field[(slice(None), *cell)]) ** 2).sum() for shift in shifts]
            total = cost[(slice(None), *cell)] + weight * np.array(pull)
            best[(slice(None), *cell)] = shifts[int(total.argmin())]
        field = box_mean(torch.from_numpy(best), 2).numpy()
    return torch.from_numpy(field)


def test_the_discrete_search_is_that_of_a_plain_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    moved, fixed = (torch.randn(4, *SHAPE, generator=draw) for _ in range(2))
    valid = (torch.rand(SHAPE, generator=draw) > 0.1).float()
    config = AlignmentConfig(radius_cells=1, coupling=(0.1, 1.0))
    found = discrete_search(moved, fixed, valid, config)
    expected = plain_search(moved.numpy(), fixed.numpy(), valid.numpy(), 1, [0.1, 1.0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, -1, 1)])
def test_a_whole_shift_is_found(shift: tuple[int, int, int]) -> None:
    wide = torch.randn(4, 16, 17, 15, generator=torch.Generator().manual_seed(1))
    moved, fixed = wide, wide.roll([-s for s in shift], (1, 2, 3))
    found = discrete_search(moved, fixed, torch.ones(16, 17, 15), AlignmentConfig())
    middle = found[:, 4:-4, 4:-4, 4:-4]
    torch.testing.assert_close(
        middle, torch.tensor(shift).float().view(3, 1, 1, 1).expand_as(middle), atol=0.05, rtol=0
    )


def test_a_displacement_is_the_same_length_in_finer_cells() -> None:
    coarse = Level(4, (2, 2, 2), torch.zeros(1, 4, 4, 4), torch.ones(4, 4, 4))
    fine = Level(2, (2, 2, 2), torch.zeros(1, 8, 8, 8), torch.ones(8, 8, 8))
    cells = torch.tensor([1.0, -0.5, 0.25]).view(3, 1, 1, 1).expand(3, 4, 4, 4)
    found = resized(cells, coarse, fine)
    torch.testing.assert_close(found, 2 * cells[:, :1, :1, :1].expand(3, 8, 8, 8))
