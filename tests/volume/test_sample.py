from __future__ import annotations

import numpy as np
import pytest

from mass3d.volume.sample import SAMPLED, sample, sample_steps


@pytest.mark.parametrize(
    ("shape", "steps"),
    [((64, 64, 64), (1, 1, 1)), ((65, 64, 64), (2, 1, 1)), ((20, 512, 1024), (1, 8, 8))],
)
def test_the_longest_axis_is_thinned_first(
    shape: tuple[int, int, int], steps: tuple[int, int, int]
) -> None:
    found = sample_steps(shape)
    assert np.prod(-(-np.array(shape) // found)) <= SAMPLED
    assert found == steps


def test_a_sample_is_a_view_of_every_so_many_voxels() -> None:
    image = np.arange(130 * 64 * 64).reshape(130, 64, 64)
    found = sample(image)
    assert np.shares_memory(found, image)
    assert found.size <= SAMPLED
    assert (found == image[::4]).all()
