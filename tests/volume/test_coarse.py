"""Fewer voxels: means and middles of blocks, where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from mass3d.volume.coarse import block_centres, block_means
from mass3d.volume.volume import Volume

STEPS = (1, 3, 2)


def test_a_block_is_its_mean_at_its_middle() -> None:
    voxels = np.random.default_rng(0).normal(0, 1000, (5, 20, 11)).astype(np.float32)
    scan = Volume.from_array(voxels, spacing_mm=(3.0, 1.0, 2.0))
    small = block_means(scan, STEPS)
    assert small.voxels.shape == (5, 6, 5)  # whole blocks alone
    assert small.voxels.dtype == np.float32
    for d, h, w in np.ndindex(small.voxels.shape):
        block = voxels[d, 3 * h : 3 * h + 3, 2 * w : 2 * w + 2]
        assert small.voxels[d, h, w] == pytest.approx(block.mean(), abs=0.01)
        centre = np.array([d, 3 * h + 1, 2 * w + 0.5, 1])
        np.testing.assert_allclose(
            small.grid.affine @ [d, h, w, 1], scan.grid.affine @ centre, atol=1e-5
        )


def test_the_middle_of_a_block_is_what_its_label_is() -> None:
    labels = np.random.default_rng(0).integers(0, 9, (5, 20, 11)).astype(np.uint16)
    centres = block_centres(labels, STEPS)
    assert centres.shape == (5, 6, 5)
    for d, h, w in np.ndindex(centres.shape):
        assert centres[d, h, w] == labels[d, 3 * h + 1, 2 * w + 1]


def test_blocks_of_one_voxel_are_the_scan() -> None:
    scan = Volume.from_array(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    np.testing.assert_array_equal(block_means(scan, (1, 1, 1)).voxels, scan.voxels)
