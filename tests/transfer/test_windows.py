import numpy as np
import pytest
import torch

from mass3d.transfer.incontext import covering_windows, to_labels

WINDOW = (16, 16, 16)


@pytest.mark.parametrize("corner", [(slice(0, 3),) * 3, (slice(37, 40),) * 3, (slice(10, 26),) * 3])
def test_a_mask_that_fits_is_covered_by_one_window_inside_the_volume(
    corner: tuple[slice, slice, slice],
) -> None:
    mask = torch.zeros(40, 40, 40, dtype=torch.bool)
    mask[corner] = True
    (box,) = covering_windows(mask, WINDOW)
    assert mask[box].sum() == mask.sum()
    assert mask[box].shape == WINDOW


def test_a_large_mask_is_covered_completely() -> None:
    mask = torch.zeros(40, 64, 20, dtype=torch.bool)
    mask[2:39, 5:60, 3:18] = True
    covered = torch.zeros_like(mask)
    for box in covering_windows(mask, WINDOW):
        assert covered[box].shape == WINDOW
        covered[box] = True
    assert covered[mask].all()


def test_the_highest_probability_wins_above_one_half() -> None:
    probabilities = np.array([[0.4, 0.6, 0.9, 0.5], [0.3, 0.7, 0.8, 0.2]], np.float32)
    assert to_labels(probabilities, [3, 9], shape=(4,)).tolist() == [0, 9, 3, 0]
